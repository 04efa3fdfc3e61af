//! An access token, for as long as it is needed.

use paligemma_browser::protocol::{ModelSource, Token};

/// A token in this page's memory, and the hub it was given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    base_url: String,
    token: Token,
}

impl Held {
    /// What a person typed for the hub at `base_url`; none when that is nothing.
    pub(crate) fn new(base_url: &str, typed: &str) -> Option<Self> {
        let typed = typed.trim();
        (!typed.is_empty()).then(|| Self {
            base_url: bare(base_url).to_owned(),
            token: Token(typed.to_owned()),
        })
    }

    /// The token for this source: only the hub it was given for may have it.
    pub(crate) fn for_source(&self, source: &ModelSource) -> Option<Token> {
        match source {
            ModelSource::Hub { base_url, .. } if bare(base_url) == self.base_url => {
                Some(self.token.clone())
            }
            _ => None,
        }
    }
}

fn bare(base_url: &str) -> &str {
    base_url.trim().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(base_url: &str) -> ModelSource {
        ModelSource::Hub {
            base_url: base_url.to_owned(),
            repository: "google/paligemma2-3b-mix-224".to_owned(),
            revision: "main".to_owned(),
        }
    }

    #[test]
    fn only_its_own_hub_gets_it() {
        let held = Held::new("https://huggingface.co", " hf_secret ").unwrap();
        let token = Some(Token("hf_secret".to_owned()));
        assert_eq!(held.for_source(&hub("https://huggingface.co/")), token);
        assert_eq!(held.for_source(&hub("https://mirror.example")), None);
        assert_eq!(held.for_source(&hub("http://huggingface.co")), None);
        let folder = ModelSource::Url {
            url: "https://huggingface.co".to_owned(),
        };
        assert_eq!(held.for_source(&folder), None);
        assert_eq!(held.for_source(&ModelSource::Files), None);
    }

    #[test]
    fn nothing_typed_is_no_token_and_none_is_printed() {
        assert_eq!(Held::new("https://huggingface.co", "  "), None);
        let printed = format!("{:?}", Held::new("https://huggingface.co", "hf_secret"));
        assert!(!printed.contains("secret"), "{printed}");
    }
}
