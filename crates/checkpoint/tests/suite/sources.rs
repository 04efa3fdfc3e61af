//! Folders and files in memory.

use crate::support::{SINGLE, folder, says};
use paligemma_checkpoint::{Folder, MemorySource, Source, SourceError, check_path};
use pollster::block_on;
use std::ops::Range;

fn refused(result: Result<impl Sized, SourceError>) -> bool {
    matches!(result, Err(SourceError::Refused { .. }))
}

#[test]
fn a_folder_does_not_lead_out_of_itself() {
    let source = Folder::new(folder(SINGLE));
    // All of these are there.
    let absolute = folder(SINGLE).join("config.json").canonicalize().unwrap();
    for path in [
        "../cases.json",
        "./config.json",
        "../model/config.json",
        "..",
        absolute.to_str().unwrap(),
    ] {
        assert!(refused(block_on(source.size(path))), "{path}");
        assert!(refused(block_on(source.read(path, 0..1))), "{path}");
    }
    let parent = Folder::new(folder(SINGLE).join(".."));
    assert!(
        block_on(parent.size("model/config.json"))
            .unwrap()
            .is_some()
    );
    assert!(refused(block_on(parent.size("model/../cases.json"))));
}

#[test]
fn paths_are_plain_names() {
    for path in [
        "config.json",
        "model-00001-of-00002.safetensors",
        "a/b c/d",
        "..a",
        "a..b",
    ] {
        assert!(check_path(path).is_ok(), "{path}");
    }
    for path in [
        "", "/a", "a//b", "a/", "a\\b", "a:b", "a?b", "a#b", "%2e", "a\nb", "a/..",
    ] {
        assert!(refused(check_path(path)), "{path}");
    }
}

#[test]
fn both_sources_give_the_same() {
    let config = folder(SINGLE).join("config.json");
    let bytes = std::fs::read(config).unwrap();
    let size = bytes.len() as u64;
    let memory = MemorySource::from_iter([("config.json", bytes.clone())]);
    check(&memory, &bytes);
    check(&Folder::new(folder(SINGLE)), &bytes);

    fn check(source: &impl Source, bytes: &[u8]) {
        let size = bytes.len() as u64;
        assert_eq!(block_on(source.size("config.json")).unwrap(), Some(size));
        assert_eq!(block_on(source.size("no.json")).unwrap(), None);
        let read = |range: Range<u64>| block_on(source.read("config.json", range));
        assert_eq!(read(0..size).unwrap(), bytes);
        assert_eq!(read(10..20).unwrap(), bytes[10..20]);
        assert!(read(size..size).unwrap().is_empty());
        for range in [
            0..size + 1,
            size..size + 1,
            u64::MAX - 1..u64::MAX,
            0..u64::MAX,
        ] {
            assert!(matches!(read(range), Err(SourceError::Short { .. })));
        }
        let missing = block_on(source.read("no.json", 0..1));
        assert!(matches!(missing, Err(SourceError::Missing { .. })));
    }
    let error = block_on(memory.read("config.json", size - 3..size + 4)).unwrap_err();
    says(
        &error.to_string(),
        &["config.json gave 3 bytes where 7 were asked for", ": check"],
    );
}

#[test]
fn a_directory_is_no_file() {
    let source = Folder::new(folder(SINGLE).join(".."));
    let error = block_on(source.size("model")).unwrap_err();
    says(
        &error.to_string(),
        &["model", "it is not a file", ": check"],
    );
    // Below a file there is nothing.
    assert_eq!(
        block_on(source.size("cases.json/config.json")).unwrap(),
        None
    );
    let nowhere = Folder::new(folder("no such folder"));
    assert_eq!(block_on(nowhere.size("config.json")).unwrap(), None);
}

#[cfg(unix)]
#[test]
fn the_links_of_the_hub_cache_are_followed() {
    let root = std::env::temp_dir().join(format!("paligemma-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(root.join("snapshot")).unwrap();
    std::fs::write(root.join("blob"), "{}").unwrap();
    let link = root.join("snapshot/config.json");
    let linked = std::os::unix::fs::symlink("../blob", link);
    let size = block_on(Folder::new(root.join("snapshot")).size("config.json"));
    std::fs::remove_dir_all(&root).unwrap();
    linked.unwrap();
    assert_eq!(size.unwrap(), Some(2));
}
