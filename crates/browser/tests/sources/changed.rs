//! A file that becomes another while it is read.

use paligemma_checkpoint::{Source, SourceError};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::server::{Server, file, hasty};

const SIZE: u32 = 4 << 20;

fn changed(result: &Result<Vec<u8>, SourceError>) -> bool {
    match result {
        Err(error @ SourceError::Changed { .. }) => {
            let message = error.to_string();
            assert!(
                message.contains("has changed since it was begun with"),
                "{message}"
            );
            assert!(message.contains("begin anew"), "{message}");
            true
        }
        Ok(_) => false,
        Err(other) => panic!("{other}"),
    }
}

#[wasm_bindgen_test]
async fn another_version_is_refused_however_it_shows() {
    for (then, expected) in [
        ("{ETag: '\"b\"', 'Last-Modified': 'Mon'}", true),
        ("{'Last-Modified': 'Tue'}", true),
        ("{ETag: '\"a\"', 'Last-Modified': 'Tue'}", false),
        ("{ETag: 'W/\"b\"', 'Last-Modified': 'Mon'}", false),
        ("{}", false),
    ] {
        let script = format!(
            "return flowing({{cut: gets === 1 ? 1500000 : undefined}}, \
             gets < 2 ? {{ETag: '\"a\"', 'Last-Modified': 'Mon'}} : {then});"
        );
        let server = Server::of(SIZE, &script);
        let folder = hasty();
        assert_eq!(folder.size("file").await, Ok(Some(SIZE.into())));
        assert_eq!(folder.validator("file").as_deref(), Some("\"a\""));
        let all = folder.read("file", 0..SIZE.into()).await;
        assert_eq!(changed(&all), expected, "{then}");
        assert!(expected || all == Ok(file(0..SIZE as usize)), "{then}");
        assert_eq!(server.count("GET"), 2, "{then}");
    }
}

#[wasm_bindgen_test]
async fn another_length_is_refused() {
    // Shorter by a byte, from the second GET on.
    let script = "return gets < 2 ? flowing({cut: 1500000}) : \
        streamed(206, {'Content-Range': `bytes ${a}-${SIZE - 2}/${SIZE - 1}`}, {from: a, to: SIZE - 1});";
    let server = Server::of(SIZE, script);
    let all = hasty().read("file", 0..SIZE.into()).await;
    assert!(changed(&all), "{all:?}");
    assert_eq!((server.count("GET"), server.count("abort")), (2, 2));
}

#[wasm_bindgen_test]
async fn between_two_short_reads_too() {
    let server = Server::new("return part({ETag: gets < 2 ? '\"a\"' : '\"b\"'});");
    let folder = hasty();
    assert_eq!(folder.read("file", 0..9).await, Ok(file(0..9)));
    assert!(changed(&folder.read("file", 9..20).await));
    assert_eq!(server.count("GET"), 2);
    // Other files are not blamed for it.
    assert_eq!(folder.read("other", 0..9).await, Ok(file(0..9)));
}
