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
