//! The SHA-256 of whole files, computed while they flow by.

use sha2::Digest as _;
use sha2::Sha256;
use sha2::digest::common::hazmat::SerializableState;
use std::cell::RefCell;
use std::ops::Range;

use crate::digest::Digest;
use crate::source::{Source, SourceError, read_exact};

/// Bytes that no tensor needs and that are read all the same, for the sake of the hash. A file
/// with more of them is not hashed: they might be a gigabyte.
const WIDEST_GAP: u64 = 16 << 20;

/// Bytes of a gap read at a time.
const PORTION: u64 = 1 << 20;

/// A source whose files are hashed as they are read from their beginning to their end. Only files
/// whose SHA-256 the source knows are.
pub(super) struct Hashing<'a, S> {
    source: &'a S,
    enabled: bool,
    current: RefCell<Option<Current>>,
}

/// A file of which everything before `position` has been hashed.
#[derive(Clone)]
struct Current {
    path: String,
    position: u64,
    hasher: Sha256,
}

impl<'a, S: Source> Hashing<'a, S> {
    /// Goes on where [`Hashing::state`] left off; from a state that cannot be read, nothing of the
    /// file it was about is hashed. Without a state, nothing at all is.
    pub(super) fn new(source: &'a S, state: Option<&[u8]>) -> Self {
        Self {
            source,
            enabled: state.is_some(),
            current: RefCell::new(state.and_then(Current::from_bytes)),
        }
    }

    fn digest_of(&self, path: &str) -> Option<Digest> {
        self.source.digest(path).filter(|_| self.enabled)
    }

    /// Where the hashing stands, to be stored.
    pub(super) fn state(&self) -> Vec<u8> {
        self.current
            .borrow()
            .as_ref()
            .map_or_else(Vec::new, Current::to_bytes)
    }

    /// Reads what is left of a file of `size` bytes. Whether its SHA-256 is the right one; `None`
    /// if not all of it was hashed.
    pub(super) async fn finish(&self, path: &str, size: u64) -> Result<Option<bool>, SourceError> {
        let Some(wanted) = self.digest_of(path) else {
            return Ok(None);
        };
        self.fill(path, size).await?;
        let current = self.current.borrow();
        let complete = current
            .as_ref()
            .filter(|file| file.path == path && file.position == size);
        Ok(complete.map(|file| Digest(file.hasher.clone().finalize().into()) == wanted))
    }

    /// Hashes up to `until`, if that is not too far from where the hashing stands.
    async fn fill(&self, path: &str, until: u64) -> Result<(), SourceError> {
        let begins = |file: &Option<Current>| file.as_ref().is_none_or(|file| file.path != path);
        if begins(&self.current.borrow()) {
            *self.current.borrow_mut() = Some(Current {
                path: path.to_owned(),
                position: 0,
                hasher: Sha256::new(),
            });
        }
        loop {
            let position = match &*self.current.borrow() {
                Some(file) if file.position < until => file.position,
                _ => return Ok(()),
            };
            if until - position > WIDEST_GAP {
                return Ok(());
            }
            let range = position..until.min(position + PORTION);
            let bytes = read_exact(self.source, path, range.clone()).await?;
            self.update(path, &range, &bytes);
        }
    }

    /// Hashes what of `bytes`, which lie at `range`, comes next.
    fn update(&self, path: &str, range: &Range<u64>, bytes: &[u8]) {
        if let Some(file) = self.current.borrow_mut().as_mut()
            && file.path == path
            && let Some(seen) = file.position.checked_sub(range.start)
            && let Some(new) = usize::try_from(seen)
                .ok()
                .and_then(|seen| bytes.get(seen..))
        {
            file.hasher.update(new);
            file.position += new.len() as u64;
        }
    }
}

impl<S: Source> Source for Hashing<'_, S> {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        self.source.size(path).await
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let hashed = self.digest_of(path).is_some();
        if hashed {
            // First, so that the source is read in order.
            self.fill(path, range.start).await?;
        }
        let bytes = self.source.read(path, range.clone()).await?;
        if hashed {
            self.update(path, &range, &bytes);
        }
        Ok(bytes)
    }
}

impl Current {
    fn to_bytes(&self) -> Vec<u8> {
        let hasher = self.hasher.serialize();
        let mut bytes = Vec::with_capacity(16 + hasher.len() + self.path.len());
        bytes.extend_from_slice(&self.position.to_le_bytes());
        bytes.extend_from_slice(&(hasher.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&hasher);
        bytes.extend_from_slice(self.path.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (position, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (hasher, path) = rest.split_at_checked(length)?;
        Some(Self {
            path: String::from_utf8(path.to_vec()).ok()?,
            position: u64::from_le_bytes(*position),
            hasher: Sha256::deserialize(hasher.try_into().ok()?).ok()?,
        })
    }
}
