//! Files: addresses for them, their bytes, fetching them.

use js_sys::{Array, ArrayBuffer, Reflect, Uint8Array};
use paligemma_browser::message::Files;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag, FileList, HtmlImageElement, Response, Url};

/// A `blob:` address, given back when dropped.
#[derive(Debug)]
pub(crate) struct ObjectUrl(String);

impl ObjectUrl {
    /// An address for the blob's bytes; none when the browser gives none.
    pub(crate) fn new(blob: &Blob) -> Option<Self> {
        Url::create_object_url_with_blob(blob).ok().map(Self)
    }

    /// The address.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for ObjectUrl {
    fn drop(&mut self) {
        // An address that is already gone needs no more.
        let _ = Url::revoke_object_url(&self.0);
    }
}

/// An address for a PNG; none when the browser gives none.
pub(crate) fn png_url(bytes: &[u8]) -> Option<ObjectUrl> {
    let parts = Array::of1(&Uint8Array::from(bytes));
    let options = BlobPropertyBag::new();
    options.set_type("image/png");
    let blob = Blob::new_with_u8_array_sequence_and_options(&parts, &options).ok()?;
    ObjectUrl::new(&blob)
}

/// All bytes of a file.
///
/// # Errors
/// What the browser says, e.g. that the file was removed since it was chosen.
pub(crate) async fn bytes(blob: &Blob) -> Result<ArrayBuffer, JsValue> {
    JsFuture::from(blob.array_buffer()).await?.dyn_into()
}

/// An image element whose picture is decoded.
///
/// # Errors
/// The browser cannot fetch or decode it.
pub(crate) async fn image(url: &str) -> Result<HtmlImageElement, JsValue> {
    let image = HtmlImageElement::new()?;
    image.set_src(url);
    JsFuture::from(image.decode()).await?;
    Ok(image)
}

/// A file of this site.
///
/// # Errors
/// It cannot be fetched, or the server answers with an error.
pub(crate) async fn fetch(url: &str) -> Result<Blob, JsValue> {
    let answer: Response = JsFuture::from(super::page::window().fetch_with_str(url))
        .await?
        .dyn_into()?;
    if !answer.ok() {
        return Err(JsValue::from_str(&format!("{url}: {}", answer.status())));
    }
    JsFuture::from(answer.blob()?).await?.dyn_into()
}

/// Files that a person chose, with their paths in the folder that was chosen, if one was; how many
/// they are, and their bytes in all.
pub(crate) fn chosen(list: &FileList) -> (Files, u32, u64) {
    let files = Files::new();
    let (mut count, mut bytes) = (0, 0.0);
    for file in (0..list.length()).filter_map(|index| list.get(index)) {
        let path = Reflect::get(&file, &"webkitRelativePath".into())
            .ok()
            .and_then(|path| path.as_string())
            .filter(|path| !path.is_empty());
        files.push(&path.unwrap_or_else(|| file.name()), &file);
        count += 1;
        bytes += file.size();
    }
    (files, count, bytes as u64)
}

/// A file's text.
///
/// # Errors
/// What the browser says.
pub(crate) async fn text(blob: &Blob) -> Result<String, JsValue> {
    Ok(JsFuture::from(blob.text())
        .await?
        .as_string()
        .unwrap_or_default())
}
