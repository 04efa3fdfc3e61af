//! Pixels in and out of the browser's own decoders and encoders.

use image::RgbaImage;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{Clamped, JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, CanvasRenderingContext2d, HtmlCanvasElement, HtmlImageElement, ImageData};

/// The pixels of a decoded image.
///
/// # Errors
/// What the browser says, e.g. that there is no memory for a canvas.
pub(crate) fn pixels(image: &HtmlImageElement) -> Result<RgbaImage, JsValue> {
    let (width, height) = (image.natural_width(), image.natural_height());
    let (_, context) = canvas(width, height)?;
    context.draw_image_with_html_image_element(image, 0.0, 0.0)?;
    let data = context.get_image_data(0.0, 0.0, f64::from(width), f64::from(height))?;
    RgbaImage::from_raw(width, height, data.data().0)
        .ok_or_else(|| JsValue::from_str("a canvas gave fewer pixels than it has"))
}

/// A PNG file of `width × height` RGBA pixels.
///
/// # Errors
/// What the browser says, e.g. that there is no memory for a canvas.
pub(crate) async fn png(rgba: &[u8], width: u32, height: u32) -> Result<Blob, JsValue> {
    let (canvas, context) = canvas(width, height)?;
    let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(rgba), width, height)?;
    context.put_image_data(&data, 0.0, 0.0)?;
    let mut failed = None;
    let encoded = Promise::new(&mut |resolve: Function, reject: Function| {
        let done = Closure::once_into_js(move |blob: JsValue| {
            // A canvas hands out null instead of a file when it cannot encode.
            let (settle, value) = if blob.is_null() {
                (
                    reject,
                    JsValue::from_str("the browser could not encode a PNG"),
                )
            } else {
                (resolve, blob)
            };
            let _ = settle.call1(&JsValue::UNDEFINED, &value);
        });
        failed = canvas.to_blob(done.unchecked_ref()).err();
    });
    if let Some(error) = failed {
        return Err(error);
    }
    JsFuture::from(encoded).await?.dyn_into()
}

/// Paints `width × height` RGBA pixels, which the canvas then has.
///
/// # Errors
/// What the browser says, e.g. that there is no memory for a canvas.
pub(crate) fn paint(
    canvas: &HtmlCanvasElement,
    rgba: &[u8],
    width: u32,
    height: u32,
) -> Result<(), JsValue> {
    canvas.set_width(width);
    canvas.set_height(height);
    let context: CanvasRenderingContext2d = canvas
        .get_context("2d")?
        .ok_or_else(|| JsValue::from_str("the browser gave no canvas to draw on"))?
        .unchecked_into();
    let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(rgba), width, height)?;
    context.put_image_data(&data, 0.0, 0.0)
}

fn canvas(
    width: u32,
    height: u32,
) -> Result<(HtmlCanvasElement, CanvasRenderingContext2d), JsValue> {
    let canvas: HtmlCanvasElement = super::page::document()
        .create_element("canvas")?
        .unchecked_into();
    canvas.set_width(width);
    canvas.set_height(height);
    let options = Object::new();
    // Pixels are read back and written whole; a canvas on the GPU would only be in the way.
    Reflect::set(&options, &"willReadFrequently".into(), &JsValue::TRUE)?;
    let context = canvas
        .get_context_with_context_options("2d", &options)?
        .ok_or_else(|| JsValue::from_str("the browser gave no canvas to draw on"))?
        .unchecked_into();
    Ok((canvas, context))
}
