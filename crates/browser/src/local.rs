//! Files that a person chose, read where they lie: nothing is copied or sent.

mod paths;

use std::collections::BTreeMap;
use std::ops::Range;

use js_sys::{ArrayBuffer, Uint8Array};
use paligemma_checkpoint::{Source, SourceError, check_path};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::File;

/// A checkpoint's files, by their path from its folder.
pub struct LocalFiles {
    files: BTreeMap<String, File>,
}

impl LocalFiles {
    /// The chosen files with their paths (`webkitRelativePath` of a folder's, the name of a file
    /// that was chosen by itself). The folder that all of them lie in is left out of the paths.
    ///
    /// # Errors
    /// [`SourceError::Blocked`] when there is none, or two have the same path.
    pub fn new(chosen: Vec<(String, File)>) -> Result<Self, SourceError> {
        let (paths, files): (Vec<String>, Vec<File>) = chosen.into_iter().unzip();
        let paths = paths::within_folder(&paths)?;
        // A file with a name that no checkpoint can have is not one of its files.
        let files = paths.into_iter().zip(files);
        let files = files.filter(|(path, _)| check_path(path).is_ok());
        Ok(Self {
            files: files.collect(),
        })
    }

    /// The paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    fn find(&self, path: &str) -> Result<Option<&File>, SourceError> {
        check_path(path)?;
        Ok(self.files.get(path))
    }
}

impl Source for LocalFiles {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        Ok(self.find(path)?.map(length))
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let file = self.find(path)?.ok_or_else(|| SourceError::Missing {
            path: path.to_owned(),
        })?;
        let wanted = range.end.saturating_sub(range.start);
        let short = |got| SourceError::Short {
            path: path.to_owned(),
            wanted,
            got,
        };
        if range.end > length(file) {
            return Err(short(length(file).saturating_sub(range.start)));
        }
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let gone = |error: JsValue| unreadable(path, &error);
        // Exact: a file has fewer than 2^53 bytes.
        let part = file
            .slice_with_f64_and_f64(range.start as f64, range.end as f64)
            .map_err(gone)?;
        let buffer = JsFuture::from(part.array_buffer()).await.map_err(gone)?;
        let buffer: ArrayBuffer = buffer.dyn_into().map_err(gone)?;
        let bytes = Uint8Array::new(&buffer).to_vec();
        if bytes.len() as u64 != wanted {
            return Err(short(bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// The time of the last change, as the file system has it.
    fn validator(&self, path: &str) -> Option<String> {
        let file = self.files.get(path)?;
        Some(file.last_modified().to_string())
    }
}

fn length(file: &File) -> u64 {
    file.size() as u64
}

/// Browsers let a chosen file be read only as long as it is what it was when it was chosen.
fn unreadable(path: &str, error: &JsValue) -> SourceError {
    let name = error.dyn_ref::<js_sys::Error>().map(|error| {
        let (name, message) = (String::from(error.name()), String::from(error.message()));
        (name, message)
    });
    let reason = match name {
        Some((name, _)) if name == "NotReadableError" || name == "NotFoundError" => {
            "it was changed, moved or deleted since it was chosen".to_owned()
        }
        Some((_, message)) => format!("the browser cannot read it ({message})"),
        None => "the browser cannot read it".to_owned(),
    };
    SourceError::Blocked {
        path: path.to_owned(),
        reason,
        remedy: "choose the files again".to_owned(),
    }
}
