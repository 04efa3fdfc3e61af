//! Files that a person chose.

use js_sys::{Array, Function, Uint8Array};
use paligemma_browser::local::LocalFiles;
use paligemma_browser::source::BrowserSource;
use paligemma_checkpoint::{Source, SourceError};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::File;

use crate::server::file;

fn chosen(path: &str, bytes: &[u8]) -> (String, File) {
    let name = path.rsplit('/').next().unwrap();
    let parts = Array::of1(&Uint8Array::from(bytes));
    let file = File::new_with_u8_array_sequence(&parts, name).unwrap();
    (path.to_owned(), file)
}

fn folder() -> LocalFiles {
    let files = vec![
        chosen("model/config.json", b"{}"),
        chosen("model/in/a.safetensors", &file(0..1000)),
    ];
    LocalFiles::new(files).unwrap_or_else(|error| panic!("{error}"))
}

#[wasm_bindgen_test]
async fn a_chosen_folder_is_read() {
    let folder = folder();
    let paths: Vec<_> = folder.paths().collect();
    assert_eq!(paths, ["config.json", "in/a.safetensors"]);
    let source = BrowserSource::Local(folder);
    assert_eq!(source.size("config.json").await, Ok(Some(2)));
    assert_eq!(source.size("nothing").await, Ok(None));
    assert_eq!(
        source.read("in/a.safetensors", 7..300).await,
        Ok(file(7..300))
    );
    assert_eq!(source.read("in/a.safetensors", 7..7).await, Ok(vec![]));
    assert!(source.validator("config.json").is_some());
    assert_eq!(source.received(), 0);
}

#[wasm_bindgen_test]
async fn what_is_not_there_is_missed() {
    let folder = folder();
    let read = folder.read("nothing", 0..1).await;
    assert!(matches!(read, Err(SourceError::Missing { .. })), "{read:?}");
    let read = folder.read("config.json", 1..4).await;
    let short = matches!(
        read,
        Err(SourceError::Short {
            wanted: 3,
            got: 1,
            ..
        })
    );
    assert!(short, "{read:?}");
    let read = folder.read("../config.json", 0..1).await;
    assert!(matches!(read, Err(SourceError::Refused { .. })), "{read:?}");
    assert!(LocalFiles::new(vec![]).is_err());
}

/// What a browser does when a file was written to after it was chosen.
#[wasm_bindgen_test]
async fn a_file_that_changed_on_the_disk_is_chosen_again() {
    let script = "const kept = Blob.prototype.arrayBuffer; \
        Blob.prototype.arrayBuffer = () => Promise.reject(new DOMException('x', 'NotReadableError')); \
        return () => { Blob.prototype.arrayBuffer = kept; };";
    let restore: Function = Function::new_no_args(script)
        .call0(&JsValue::NULL)
        .unwrap()
        .into();
    let read = folder().read("config.json", 0..1).await;
    restore.call0(&JsValue::NULL).unwrap();
    let message = read.unwrap_err().to_string();
    assert!(
        message.contains("changed") && message.contains("choose the files again"),
        "{message}"
    );
}
