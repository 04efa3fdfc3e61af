//! Chat messages, as transformers' `apply_chat_template` takes them, into a prompt.
//!
//! No PaliGemma has a chat template, as none was trained to converse: a prompt is one turn. What
//! can be said as one is; the rest is refused by name.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tokenizer::IMAGE;

/// A turn of a conversation. `P` is what stands for a picture: a decoded one, a path, an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<P> {
    /// Who speaks: `user` for a prompt.
    pub role: String,
    /// What is said.
    pub content: Content<P>,
}

/// The content of a [`Message`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content<P> {
    /// Only text.
    Text(String),
    /// Pictures and text, in order.
    Parts(Vec<Part<P>>),
}

/// A part of a [`Content`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part<P> {
    /// A picture: `{"type": "image", "image": …}`, or with `url` or `path` in place of `image`.
    Image {
        /// The picture.
        #[serde(alias = "url", alias = "path")]
        image: P,
    },
    /// A text: `{"type": "text", "text": …}`.
    Text {
        /// The text.
        text: String,
    },
}

/// Why messages are no prompt for PaliGemma.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not messages at all.
    #[error(
        "the messages cannot be read ({reason}): give a list of {{\"role\": …, \"content\": …}}"
    )]
    Json {
        /// What is wrong with them.
        reason: String,
    },
    /// An empty list.
    #[error("there are no messages: give one of the user's, with a picture and a text")]
    None,
    /// A system prompt, a tool's result, or a role that nobody knows.
    #[error(
        "a message has the role {role}, which PaliGemma was not trained with: give one message of the user's"
    )]
    Role {
        /// The role.
        role: String,
    },
    /// The model's own earlier answer, or a second question.
    #[error(
        "there are {count} messages, and PaliGemma answers one at a time: give the last one alone, with its pictures"
    )]
    Turns {
        /// Messages given.
        count: usize,
    },
    /// Several texts in one message.
    #[error("the message has {count} texts: join them to one prompt")]
    Texts {
        /// Texts given.
        count: usize,
    },
    /// No picture.
    #[error("the message has no picture, which PaliGemma always needs: add one")]
    NoImage,
    /// A text that spells out `<image>` beside pictures that are parts.
    #[error(
        "the message's text contains <image>, and its pictures are parts of their own: leave <image> out"
    )]
    WrittenImage,
}

/// Messages from JSON, e.g. `[{"role": "user", "content": [{"type": "image", "url": "cat.jpg"},
/// {"type": "text", "text": "caption en"}]}]`; a picture is the string that names it.
///
/// # Errors
/// [`MessageError::Json`].
pub fn parse_messages(json: &str) -> Result<Vec<Message<String>>, MessageError> {
    serde_json::from_str(json).map_err(|error| MessageError::Json {
        reason: error.to_string(),
    })
}

/// The prompt that messages stand for, with an `<image>` for each picture, and the pictures in
/// their order. A message without a text asks for a caption, as an empty prompt does.
///
/// # Errors
/// [`MessageError`] for what PaliGemma has no use for: anything but one message of the user's with
/// pictures and at most one text.
///
/// ```
/// use paligemma_processor::{apply_chat_template, parse_messages};
///
/// let messages = parse_messages(
///     r#"[{"role": "user", "content": [
///         {"type": "image", "url": "cat.jpg"},
///         {"type": "text", "text": "What is in this image?"}]}]"#,
/// )?;
/// let (prompt, pictures) = apply_chat_template(&messages)?;
/// assert_eq!(prompt, "<image>What is in this image?");
/// assert_eq!(pictures, ["cat.jpg"]);
/// # Ok::<(), paligemma_processor::MessageError>(())
/// ```
pub fn apply_chat_template<P>(messages: &[Message<P>]) -> Result<(String, Vec<&P>), MessageError> {
    if let Some(stranger) = messages
        .iter()
        .find(|message| !matches!(message.role.as_str(), "user" | "assistant"))
    {
        return Err(MessageError::Role {
            role: stranger.role.clone(),
        });
    }
    let message = match messages {
        [] => return Err(MessageError::None),
        [message] => message,
        several => {
            return Err(MessageError::Turns {
                count: several.len(),
            });
        }
    };
    if message.role != "user" {
        return Err(MessageError::Role {
            role: message.role.clone(),
        });
    }
    let Content::Parts(parts) = &message.content else {
        return Err(MessageError::NoImage);
    };
    let (mut prompt, mut pictures, mut texts) = (String::new(), Vec::new(), 0);
    for part in parts {
        match part {
            Part::Image { image } => {
                prompt.push_str(IMAGE);
                pictures.push(image);
            }
            Part::Text { text } if text.contains(IMAGE) => return Err(MessageError::WrittenImage),
            Part::Text { text } => {
                prompt.push_str(text);
                texts += 1;
            }
        }
    }
    if pictures.is_empty() {
        return Err(MessageError::NoImage);
    }
    if texts > 1 {
        return Err(MessageError::Texts { count: texts });
    }
    Ok((prompt, pictures))
}
