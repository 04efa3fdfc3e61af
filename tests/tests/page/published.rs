//! What the built page loads is part of it.

use std::path::PathBuf;

pub(crate) fn dist() -> PathBuf {
    let dist = std::env::var_os("PALIGEMMA_DIST").expect("PALIGEMMA_DIST names the built page");
    PathBuf::from(dist)
}

/// What a document's scripts, links in its head and pictures load.
fn loaded(html: &str) -> Vec<&str> {
    let tags = html.split('<').filter(|tag| {
        let kinds = ["script ", "link ", "img "];
        kinds.iter().any(|kind| tag.starts_with(kind))
    });
    tags.filter_map(|tag| {
        let (_, rest) = tag
            .split_once(" src=\"")
            .or_else(|| tag.split_once(" href=\""))?;
        rest.split('"').next()
    })
    .collect()
}

#[test]
fn everything_that_the_page_loads_is_part_of_it() {
    let html = std::fs::read_to_string(dist().join("index.html")).expect("index.html in the dist");
    let loaded = loaded(&html);
    let wasm = loaded.iter().any(|reference| reference.ends_with(".wasm"));
    assert!(wasm, "the page loads no wasm: {loaded:?}");
    for reference in loaded {
        if reference.starts_with("data:") {
            continue;
        }
        assert!(
            !reference.contains("//"),
            "{reference} would come from another server"
        );
        let file = dist().join(reference.trim_start_matches(['.', '/']));
        assert!(file.exists(), "{reference} is not in the built page");
    }
}

/// What a browser fetches before the page can do anything, in bytes, compressed by Brotli as static
/// hosts do it.
const MOST_BYTES: usize = 1_500_000;

#[test]
fn scripts_and_wasm_are_a_small_download() {
    let mut sizes = Vec::new();
    let mut folders = vec![dist()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    for path in files {
        let kind = path.extension().and_then(|kind| kind.to_str());
        if matches!(kind, Some("wasm" | "js")) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            sizes.push((name, compressed(&std::fs::read(&path).unwrap())));
        }
    }
    let modules = sizes.iter().filter(|(name, _)| name.ends_with(".wasm"));
    assert_eq!(modules.count(), 2, "page and worker: {sizes:?}");
    let total: usize = sizes.iter().map(|(_, bytes)| bytes).sum();
    println!("{total} bytes: {sizes:?}");
    assert!(total <= MOST_BYTES, "{total} bytes: {sizes:?}");
}

/// Bytes at the highest quality.
fn compressed(bytes: &[u8]) -> usize {
    let mut out = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut out, 1 << 16, 11, 22);
    std::io::Write::write_all(&mut writer, bytes).unwrap();
    drop(writer);
    out.len()
}
