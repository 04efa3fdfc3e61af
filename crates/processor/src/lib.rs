//! Pictures and prompts into what PaliGemma reads; what it writes into text, boxes and mask codes.
//!
//! The crate does for PaliGemma and PaliGemma 2 what `PaliGemmaProcessor` does in Hugging Face
//! transformers, and nothing of the model: no weights, no GPU, no files, no network. Everything
//! that comes in (a picture, a tokenizer, a prompt, the model's own answer) is taken as hostile and
//! never makes it panic.
//!
//! | module | from | to |
//! |---|---|---|
//! | [`Picture`] | the bytes of a PNG, JPEG, WebP, GIF or BMP | upright RGB8 |
//! | [`ImageProcessor`] | a [`Picture`] | `pixel_values`, `[3, size, size]` |
//! | [`Tokenizer`] | text | token ids, and back |
//! | [`Processor`] | pictures and a prompt | `pixel_values` and a [`Prompt`] |
//! | [`AttentionMask`] | a prompt | a picture of who attends to whom |
//! | [`Processor::batch`] | texts, suffixes | a padded [`Batch`] with labels |
//! | [`apply_chat_template`] | chat messages | a prompt |
//! | [`parse_answer`] | the answer's text | [`Detection`]s and plain text, in order |
//! | [`Mask`] | a box and the mask decoder's numbers | alpha, runs, polygons, PNG |

mod answer;
mod attention_mask;
mod attention_mask_svg;
mod attention_mask_text;
mod batch;
mod error;
mod image_processor;
mod jpeg;
mod mask;
mod messages;
mod picture;
mod processor;
mod resize;
mod tokenizer;
mod tokenizer_file;
mod warning;

pub use answer::{AnswerItem, Detection, MASK_CODES, detections, parse_answer};
pub use attention_mask::{AttentionMask, Cell, Layers};
pub use batch::{Batch, BatchRequest, IGNORED, ImageCounts, Padding};
pub use error::{PictureError, ProcessorError};
pub use image_processor::{ImageProcessor, PixelSteps};
pub use mask::{AlphaMap, BinaryMask, MASK_SIDE, Mask, PixelBox, Rle, RleError};
pub use messages::{Content, Message, MessageError, Part, apply_chat_template, parse_messages};
pub use picture::Picture;
pub use processor::{Processor, Prompt};
pub use tokenizer::{LOC_TOKENS, SEG_TOKENS, Tokenizer};
pub use warning::ProcessorWarning;
