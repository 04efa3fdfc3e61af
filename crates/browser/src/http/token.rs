//! An access token: kept in memory, sent in one header, shown nowhere.

use std::fmt;

use paligemma_checkpoint::SourceError;

/// The longest token that is taken, in bytes: a header must fit into what servers accept.
const LONGEST: usize = 4096;

/// What a person pastes to be let in. It has no `Display`, and its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes `text` without the white space around it.
    ///
    /// # Errors
    /// [`SourceError::Blocked`] when this cannot be a token; the message does not repeat it.
    pub fn new(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        // RFC 6750, 2.1 (`b64token`), and nothing that could end the header.
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(legal) {
            return Err(SourceError::Blocked {
                path: "the access token".to_owned(),
                reason: "it is empty, too long, or has characters that no token has".to_owned(),
                remedy: "copy it again from the settings of your account".to_owned(),
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The value of an `Authorization` header.
    pub(super) fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_and_not_shown() {
        let token = Token::new(" hf_aBc123\n").unwrap();
        assert_eq!(token.authorization(), "Bearer hf_aBc123");
        assert!(!format!("{token:?}").contains("aBc"));
    }

    #[test]
    fn what_no_token_looks_like_is_refused_without_being_repeated() {
        let long = "x".repeat(LONGEST + 1);
        for text in [
            "",
            " ",
            "secret word",
            "secret\r\nX-Other: 1",
            "sécret",
            &long,
        ] {
            let message = Token::new(text).unwrap_err().to_string();
            assert!(
                !message.contains("secret") && !message.contains("sécret"),
                "{message}"
            );
        }
    }
}
