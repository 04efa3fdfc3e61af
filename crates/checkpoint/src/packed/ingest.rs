//! From a source into a store: fetched, packed, checked, kept, a piece at a time.

use futures_util::future;
use std::collections::BTreeMap;

use super::maker::Maker;
use super::manifest::Manifest;
use super::pieces::{PackedError, PackedSource, Pieces};
use super::plan::{ModelKey, Plan};
use super::store::{Mark, Record, State, Store, StoreError};
use super::tally::Tally;
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::error::CheckpointError;
use crate::quantize::QuantizeError;
use crate::source::{Source, SourceError, read_exact};

/// Side files of unknown digest up to this many bytes are read again whenever fetching goes on:
/// configurations. Longer ones, tokenizers, only when a validator says that they may have changed.
const READ_AGAIN: u64 = 1 << 20;

/// Why a model could not be brought into a store. What had arrived is kept.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The checkpoint or its source.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// The packed model it comes from.
    #[error(transparent)]
    Packed(PackedError),

    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// Weights that cannot be packed as the recipe says.
    #[error("tensor `{tensor}`: {reason}")]
    Quantize {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with its weights.
        reason: QuantizeError,
    },

    /// A piece that was fetched again is not what it was.
    #[error(
        "piece {index} came out differently from what was stored before, so its source has \
         changed: delete the model and fetch it anew"
    )]
    Different {
        /// Which.
        index: usize,
    },

    /// A side file is not the one that fetching began with.
    #[error(
        "{path} has changed since fetching began, though not in its length: delete what has \
         arrived, then begin anew"
    )]
    Replaced {
        /// The file.
        path: String,
    },

    /// A file is not the one that its publisher describes.
    #[error(
        "{path} does not have the SHA-256 that its publisher states, it was damaged on the way or \
         has changed: what came from it was thrown away, fetch it again"
    )]
    Changed {
        /// The file.
        path: String,
    },
}

impl From<SourceError> for IngestError {
    fn from(error: SourceError) -> Self {
        Self::Checkpoint(error.into())
    }
}

impl From<PackedError> for IngestError {
    fn from(error: PackedError) -> Self {
        match error {
            PackedError::Source(error) => error.into(),
            PackedError::Store(error) => Self::Store(error),
            other => Self::Packed(other),
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Side files, such as the tokenizer, arrive.
    Files,
    /// Weights arrive, are packed and stored.
    Weights,
    /// What is stored is read back and checked.
    Checking,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes of the source that need not be read any more.
    pub read_bytes: u64,
    /// Bytes of the source that the whole model takes.
    pub total_read_bytes: u64,
    /// Bytes stored; while checking, bytes checked.
    pub stored_bytes: u64,
    /// Bytes that the whole model takes in the store.
    pub total_stored_bytes: u64,
}

/// What a model is made from.
pub(super) enum Material<'a, S> {
    Checkpoint(&'a Checkpoint<S>),
    Packed(&'a PackedSource<S>),
}

/// Brings one model into a store. Run it again after whatever stopped it, in this program or in
/// another: it goes on with the first piece that is not there. Dropping its future stops it.
pub struct Ingest<'a, S, T> {
    pub(super) material: Material<'a, S>,
    store: &'a T,
    pub(super) plan: Plan,
    key: ModelKey,
}

impl<'a, S: Source, T: Store> Ingest<'a, S, T> {
    /// Packs a checkpoint as planned. `plan` is [`Plan::new`]'s of this checkpoint.
    pub fn quantize(checkpoint: &'a Checkpoint<S>, plan: Plan, store: &'a T) -> Self {
        Self::new(Material::Checkpoint(checkpoint), plan, store)
    }

    /// Copies a packed model.
    pub fn copy(packed: &'a PackedSource<S>, store: &'a T) -> Self {
        let plan = packed.manifest().plan.clone();
        Self::new(Material::Packed(packed), plan, store)
    }

    fn new(material: Material<'a, S>, plan: Plan, store: &'a T) -> Self {
        let key = plan.key();
        Self {
            material,
            store,
            plan,
            key,
        }
    }

    /// Does it. Returns the contents of the complete model.
    ///
    /// # Errors
    /// If the source or the store fails, or if the weights are not what they should be.
    pub async fn run(
        mut self,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Manifest, IngestError> {
        match self.store.model(&self.key).await? {
            None => self.put_record(State::Partial).await?,
            // What was stored once says what is right where the source does not.
            Some(there) => {
                for file in &mut self.plan.files {
                    let mut known = there.plan.files.iter();
                    let known = known.find(|known| known.path == file.path);
                    file.sha256 = file.sha256.or(known.and_then(|known| known.sha256));
                }
                if there.state == State::Partial {
                    self.compare_files(&there.plan).await?;
                }
            }
        }
        let mut tally = Tally::new(&self.plan, &self.material);
        tally.report(Stage::Files, on_progress);
        self.fetch_files().await?;

        let mut digests = self.stored_digests().await?;
        digests.keys().for_each(|index| tally.add(*index));
        let missing = (0..self.plan.pieces()).filter(|index| !digests.contains_key(index));
        let missing: Vec<usize> = missing.collect();
        if !missing.is_empty() {
            // Also of one that was complete: nobody may load what is being replaced.
            self.put_record(State::Partial).await?;
        }
        tally.report(Stage::Weights, on_progress);
        self.fetch_pieces(&missing, &mut digests, &mut tally, on_progress)
            .await?;

        let all: Vec<usize> = digests.keys().copied().collect();
        let damaged = self.check(&all, &digests, &mut tally, on_progress).await?;
        if !damaged.is_empty() {
            self.fetch_pieces(&damaged, &mut digests, &mut tally, &mut |_| ())
                .await?;
            let still = self
                .check(&damaged, &digests, &mut tally, &mut |_| ())
                .await?;
            if let Some(index) = still.first() {
                return Err(StoreError::Damaged {
                    what: format!("piece {index}"),
                }
                .into());
            }
        }
        // From here on the digests say what is right.
        for file in &mut self.plan.files {
            file.validator = None;
        }
        self.put_record(State::Complete).await?;
        Ok(Manifest {
            plan: self.plan,
            digests: digests.into_values().collect(),
        })
    }

    /// How far the model is, without doing anything about it. Pieces that were stored are taken to
    /// be sound.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn standing(&self) -> Result<Progress, IngestError> {
        let mut tally = Tally::new(&self.plan, &self.material);
        let there = self.stored_digests().await?;
        there.keys().for_each(|index| tally.add(*index));
        Ok(tally.progress(Stage::Weights))
    }

    /// What the model will be.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    async fn put_record(&self, state: State) -> Result<(), IngestError> {
        let record = Record {
            plan: self.plan.clone(),
            state,
        };
        Ok(self.store.put_model(&record).await?)
    }

    /// Notices side files that were replaced since fetching began by `before`, where neither a commit
    /// nor a digest says so. (Of a model that is complete nothing is fetched but damage.)
    async fn compare_files(&self, before: &Plan) -> Result<(), IngestError> {
        let Material::Checkpoint(checkpoint) = &self.material else {
            return Ok(());
        };
        if self.plan.origin.commit.is_some() {
            return Ok(());
        }
        let source = checkpoint.source();
        for file in &self.plan.files {
            let known = before.files.iter().find(|known| known.path == file.path);
            let validators = known.map(|known| (&known.validator, &file.validator));
            let may_differ = match validators {
                Some((Some(before), Some(now))) => before != now,
                _ => false,
            };
            let is_long = file.bytes > READ_AGAIN;
            if (is_long && !may_differ) || source.digest(&file.path).is_some() {
                continue;
            }
            let Some(stored) = self.store.file(&self.key, &file.path).await? else {
                continue;
            };
            // What is damaged here is fetched again, and says nothing about what is there.
            let known = file.sha256.unwrap_or_else(|| Digest::of(&stored));
            if stored.len() as u64 == file.bytes
                && known == Digest::of(&stored)
                && read_exact(source, &file.path, 0..file.bytes).await? != stored
            {
                return Err(IngestError::Replaced {
                    path: file.path.clone(),
                });
            }
        }
        Ok(())
    }

    /// Side files that are not there yet; their digests become part of the plan.
    async fn fetch_files(&mut self) -> Result<(), IngestError> {
        for file in &mut self.plan.files {
            let stored = self.store.file(&self.key, &file.path).await?;
            let stored = stored.filter(|bytes| {
                bytes.len() as u64 == file.bytes
                    && file.sha256.is_none_or(|sha256| sha256 == Digest::of(bytes))
            });
            let bytes = match (stored, &self.material) {
                (Some(bytes), _) => bytes,
                (None, Material::Checkpoint(checkpoint)) => {
                    let source = checkpoint.source();
                    let bytes = read_exact(source, &file.path, 0..file.bytes).await?;
                    if file
                        .sha256
                        .is_some_and(|sha256| sha256 != Digest::of(&bytes))
                    {
                        return Err(IngestError::Changed {
                            path: file.path.clone(),
                        });
                    }
                    self.store.put_file(&self.key, &file.path, &bytes).await?;
                    bytes
                }
                (None, Material::Packed(packed)) => {
                    let bytes = packed.file(&file.path).await?.unwrap_or_default();
                    self.store.put_file(&self.key, &file.path, &bytes).await?;
                    bytes
                }
            };
            file.sha256 = Some(Digest::of(&bytes));
        }
        Ok(())
    }

    /// The digests of the pieces that need not be fetched.
    async fn stored_digests(&self) -> Result<BTreeMap<usize, Digest>, IngestError> {
        let marks = self.store.marks(&self.key).await?.into_iter();
        let mut digests: BTreeMap<_, _> = marks
            .filter(|mark| mark.index < self.plan.pieces())
            .map(|mark| (mark.index, mark.sha256))
            .collect();
        if let Material::Packed(packed) = &self.material {
            let wanted = &packed.manifest().digests;
            digests.retain(|index, digest| wanted.get(*index) == Some(digest));
        }
        Ok(digests)
    }

    /// Fetches pieces. While one is being stored, the next is already on its way. A piece with a
    /// digest must come out as it was.
    async fn fetch_pieces(
        &self,
        wanted: &[usize],
        digests: &mut BTreeMap<usize, Digest>,
        tally: &mut Tally,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), IngestError> {
        let Some(&first) = wanted.first() else {
            return Ok(());
        };
        // Files are hashed only where they are read in one go to their end: to hash what lies
        // between a few pieces would be to fetch it.
        let to_the_end = wanted.len() == self.plan.pieces() - first;
        let state = match first.checked_sub(1) {
            _ if !to_the_end => None,
            None => Some(Vec::new()),
            Some(last) => {
                let marks = self.store.marks(&self.key).await?.into_iter();
                let mut marks = marks.filter(|mark| mark.index == last);
                marks.next().map(|mark| mark.hashing)
            }
        };
        let mut maker = Maker::new(self, state.as_deref());
        let mut ready: Option<(usize, Vec<u8>, Vec<u8>)> = None;
        let mut waiting = wanted.iter().copied();
        loop {
            let next = waiting.next();
            if next.is_none() && ready.is_none() {
                return Ok(());
            }
            let making = async {
                match next {
                    Some(index) => maker.piece(index).await.map(Some),
                    None => Ok(None),
                }
            };
            let storing = async {
                match ready.take() {
                    Some((index, bytes, hashing)) => {
                        let expected = digests.get(&index).copied();
                        self.put(index, &bytes, hashing, expected).await.map(Some)
                    }
                    None => Ok(None),
                }
            };
            let (made, stored) = future::join(making, storing).await;
            if let Some((index, digest)) = stored? {
                digests.insert(index, digest);
                tally.add(index);
                tally.report(Stage::Weights, on_progress);
            }
            let made = match made {
                Ok(made) => made,
                Err(IngestError::Changed { path }) => {
                    self.throw_away(&path).await?;
                    return Err(IngestError::Changed { path });
                }
                Err(other) => return Err(other),
            };
            ready = next
                .zip(made)
                .map(|(index, bytes)| (index, bytes, maker.state()));
        }
    }

    async fn put(
        &self,
        index: usize,
        bytes: &[u8],
        hashing: Vec<u8>,
        expected: Option<Digest>,
    ) -> Result<(usize, Digest), IngestError> {
        let piece = self.store.piece_of(bytes);
        let sha256 = self.store.digest(&piece).await?;
        if expected.is_some_and(|expected| expected != sha256) {
            return Err(IngestError::Different { index });
        }
        let mark = Mark {
            index,
            sha256,
            hashing,
        };
        self.store.put_piece(&self.key, &mark, piece).await?;
        Ok((index, sha256))
    }

    /// Forgets every piece with rows from a file.
    async fn throw_away(&self, path: &str) -> Result<(), IngestError> {
        let Material::Checkpoint(checkpoint) = &self.material else {
            return Ok(());
        };
        let tensors = self.plan.tensors.iter().zip(checkpoint.tensors());
        let mut pieces: Vec<usize> = tensors
            .filter(|(_, info)| info.file == path)
            .flat_map(|(tensor, _)| tensor.spans.iter().map(|span| span.piece))
            .collect();
        pieces.dedup();
        Ok(self.store.forget(&self.key, &pieces).await?)
    }

    /// Reads pieces back; which are not what they were.
    async fn check(
        &self,
        indices: &[usize],
        digests: &BTreeMap<usize, Digest>,
        tally: &mut Tally,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<usize>, IngestError> {
        let mut damaged = Vec::new();
        let mut checked = 0;
        for &index in indices {
            let piece = self.store.piece(&self.key, index).await?;
            let right = match piece {
                Some(piece) => Some(&self.store.digest(&piece).await?) == digests.get(&index),
                None => false,
            };
            if !right {
                damaged.push(index);
            }
            checked += self.plan.piece_len(index) as u64;
            tally.stored = checked;
            tally.report(Stage::Checking, on_progress);
        }
        Ok(damaged)
    }
}
