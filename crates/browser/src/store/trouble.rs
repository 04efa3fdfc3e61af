//! What a browser's database complains of, in a store's terms.

use idb::Error;
use paligemma_checkpoint::StoreError;
use wasm_bindgen::JsValue;

use super::js::get;

const ALLOW: &str = "use an ordinary window (not a private one) of a current browser and allow \
                     this site to store data; until then a model can be run without keeping it";

/// What went wrong, before it is known what it prevented.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It has been said in full.
    Store(StoreError),
    /// What the browser says.
    Exception {
        /// Such as `QuotaExceededError`.
        name: String,
        /// In the browser's words.
        message: String,
    },
}

impl Trouble {
    /// What JavaScript threw.
    pub(super) fn thrown(error: &JsValue) -> Self {
        let text = |name: &str| get(error, name).as_string().unwrap_or_default();
        Self::exception(&text("name"), &text("message"))
    }

    pub(super) fn exception(name: &str, message: &str) -> Self {
        Self::Exception {
            name: name.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Whether another connection may be luckier: this one was closed, by the browser, by a laptop
    /// that slept, by another tab that updates the database.
    pub(super) fn may_be_the_connection(&self) -> bool {
        self.is(&["InvalidStateError", "UnknownError", "AbortError"])
    }

    /// Whether a transaction was merely taken back; then something else says why.
    pub(super) fn is_abortion(&self) -> bool {
        self.is(&["AbortError"])
    }

    /// Whether a stored value is lost: browsers keep large ones in files of their own, which can
    /// go missing.
    pub(super) fn is_lost_value(&self) -> bool {
        self.is(&["DataError", "NotReadableError", "DataCloneError"])
    }

    fn is(&self, names: &[&str]) -> bool {
        matches!(self, Self::Exception { name, .. } if names.contains(&name.as_str()))
    }

    /// The error for a person, where `doing` (such as `writing`) this to `what` was prevented.
    pub(super) fn prevents(self, doing: &str, what: &str) -> StoreError {
        let (name, message) = match self {
            Self::Store(error) => return error,
            Self::Exception { name, message } => (name, message),
        };
        // Where the disk is full rather than the site's share of it, Chromium says so in words.
        if name == "QuotaExceededError" || message.contains("full disk") {
            return StoreError::Full {
                what: what.to_owned(),
            };
        }
        StoreError::Failed {
            what: format!("{doing} {what}"),
            reason: in_words(&name, &message),
        }
    }

    /// The error for a person, where the database could not be opened.
    pub(super) fn prevents_opening(self) -> StoreError {
        match &self {
            Self::Exception { name, message } => match name.as_str() {
                "VersionError" => StoreError::Newer,
                // The last is what some browsers say in private windows.
                "SecurityError" | "NotAllowedError" | "InvalidStateError" => {
                    StoreError::Unavailable {
                        reason: format!(
                            "the browser refuses this page a database ({})",
                            in_words(name, message)
                        ),
                        next: ALLOW,
                    }
                }
                _ => self.prevents("opening", "the model store"),
            },
            Self::Store(_) => self.prevents("opening", "the model store"),
        }
    }
}

/// The browser has no database at all.
pub(super) fn no_database() -> StoreError {
    StoreError::Unavailable {
        reason: "the browser offers this page no database (IndexedDB)".to_owned(),
        next: ALLOW,
    }
}

fn in_words(name: &str, message: &str) -> String {
    let message = message.trim_end_matches('.');
    match (name, message) {
        ("", "") => "the browser does not say why".to_owned(),
        ("", only) | (only, "") => only.to_owned(),
        (name, message) => format!("{name}: {message}"),
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match &error {
            Error::DomException(exception) => {
                Self::exception(&exception.name(), &exception.message())
            }
            Error::TransactionOpenFailed(thrown)
            | Error::ObjectStoreNotFound(thrown)
            | Error::ObjectStoreCreateFailed(thrown)
            | Error::IndexedDbOpenFailed(thrown)
            | Error::UpdateFailed(thrown)
            | Error::DeleteFailed(thrown)
            | Error::GetFailed(thrown)
            | Error::GetKeyFailed(thrown)
            | Error::GetAllFailed(thrown)
            | Error::GetAllKeysFailed(thrown)
            | Error::RequestResultNotFound(thrown) => Self::thrown(thrown),
            other => Self::exception("", &other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing(name: &str, message: &str) -> StoreError {
        Trouble::exception(name, message).prevents("writing", "piece 3")
    }

    #[test]
    fn no_room_is_told_apart_from_failure() {
        let full = StoreError::Full {
            what: "piece 3".to_owned(),
        };
        assert_eq!(writing("QuotaExceededError", ""), full);
        assert_eq!(
            writing("UnknownError", "Encountered full disk while writing."),
            full
        );
        assert_eq!(
            writing("UnknownError", "Connection lost."),
            StoreError::Failed {
                what: "writing piece 3".to_owned(),
                reason: "UnknownError: Connection lost".to_owned(),
            }
        );
        assert_eq!(
            writing("", "").to_string(),
            "writing piece 3 failed (the browser does not say why): try again, and restart the \
             program if it happens again"
        );
    }

    #[test]
    fn each_refusal_to_open_is_its_own_error() {
        let opening = |name| Trouble::exception(name, "No.").prevents_opening();
        assert_eq!(opening("VersionError"), StoreError::Newer);
        for name in ["SecurityError", "InvalidStateError"] {
            match opening(name) {
                StoreError::Unavailable { reason, .. } => assert!(reason.contains(name)),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            opening("QuotaExceededError"),
            StoreError::Full { .. }
        ));
        assert!(matches!(opening("UnknownError"), StoreError::Failed { .. }));
    }
}
