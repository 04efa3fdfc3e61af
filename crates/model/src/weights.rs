use std::collections::HashMap;
use std::pin::pin;

use futures_util::{StreamExt, future, stream};
use paligemma_checkpoint::{
    Checkpoint, CheckpointError, Packed, Pieces, Precision, Recipe, Source, Span, Storage,
    TextConfig, pack,
};
use paligemma_gpu::{
    CachePrecision, Gpu, HostBytes, Matrix, MatrixRole, Planned, PlannedAttention, Tensor,
};

use crate::error::ModelError;
use crate::model::ModelOptions;
use crate::sizes::WeightSizes;
use crate::stack::{self, Stack, Stored};

/// Bytes asked of a source at a time: few requests for gigabytes, and still little memory.
const PIECE: usize = 16 << 20;

/// Bytes handed to the GPU before it is waited for: uploads are staged, and the staging must not
/// grow with the model.
const IN_FLIGHT: u64 = 64 << 20;

/// Pieces that are read and checked at a time, while one before them is uploaded: a store, a hash
/// and a GPU each wait for nobody else.
const AHEAD: usize = 3;

/// What the names of the decoder's layers begin with.
const LAYERS: &str = "language_model.model.layers.";

const POSITION_EMBEDDING: &str = "vision_tower.vision_model.embeddings.position_embedding.weight";

/// A checkpoint's tensors on the GPU, by canonical name.
///
/// Matrices are packed as the recipe says, on their way; norms, biases and the position embedding
/// are widened to f32.
///
/// Projections of the same numbers are kept as one matrix (`stack.rs`), under the name of the
/// whole; `places` tells where each of them lies.
pub(crate) struct Weights {
    pub(crate) matrices: HashMap<String, Matrix>,
    pub(crate) vectors: HashMap<String, Tensor>,
    places: HashMap<String, (String, usize)>,
    pub(crate) sizes: WeightSizes,
    /// How keys and values are to be kept beside these weights.
    pub(crate) cache: CachePrecision,
}

impl Weights {
    /// Room for these tensors.
    pub(crate) async fn allocate(
        gpu: &Gpu,
        tensors: &[Stored<'_>],
        options: &ModelOptions,
    ) -> Result<Self, ModelError> {
        let decoder = tensors.iter().filter(|(name, ..)| name.starts_with(LAYERS));
        let mut weights = Self {
            matrices: HashMap::new(),
            vectors: HashMap::new(),
            places: HashMap::new(),
            sizes: WeightSizes::default(),
            cache: options.cache_beside(matrices(decoder).map(|(precision, _)| precision)),
        };
        let shapes: HashMap<_, _> = tensors
            .iter()
            .map(|(name, rows, columns, storage)| (*name, (*rows, *columns, *storage)))
            .collect();
        for &(name, rows, columns, storage) in tensors {
            weights.sizes.add(name, rows, columns, storage);
            let find = |part: &str| shapes.get(part).copied();
            let (name, rows, columns) = match stack::place(name, find) {
                None => (name.to_owned(), rows, columns),
                Some(place) => {
                    let at = (place.whole.clone(), place.before);
                    weights.places.insert(name.to_owned(), at);
                    (place.whole, place.rows, place.columns)
                }
            };
            match storage {
                Storage::Numbers if !weights.vectors.contains_key(&name) => {
                    let vector = gpu.tensor(&name, rows, columns)?;
                    weights.vectors.insert(name, vector);
                }
                Storage::Matrix(precision) if !weights.matrices.contains_key(&name) => {
                    let matrix = gpu.matrix(&name, rows, columns, precision)?;
                    weights.matrices.insert(name, matrix);
                }
                _ => {} // the whole is there already
            }
        }
        gpu.finish().await?;
        Ok(weights)
    }

    /// How the model will attend.
    fn attention(&self, tensors: &[Stored<'_>], config: &TextConfig) -> PlannedAttention {
        PlannedAttention {
            cache: self.cache,
            long: is_long(tensors),
            soft_cap: config.attn_logit_softcapping.map(|cap| cap as f32),
            queries_per_kv: config.num_attention_heads / config.num_key_value_heads.max(1),
        }
    }

    /// Where rows of a tensor go: the matrix and its row of the tensor's first one.
    fn matrix_of(&self, name: &str) -> Option<(&Matrix, usize)> {
        match self.places.get(name) {
            Some((whole, before)) => Some((self.matrices.get(whole)?, *before)),
            None => Some((self.matrices.get(name)?, 0)),
        }
    }

    /// Where the numbers of a vector of so many columns go.
    fn vector_of(&self, name: &str, columns: usize) -> Result<Option<Tensor>, ModelError> {
        let Some((whole, before)) = self.places.get(name) else {
            return Ok(self.vectors.get(name).cloned());
        };
        match self.vectors.get(whole) {
            Some(vector) => Ok(Some(vector.slice_columns(*before..before + columns)?)),
            None => Ok(None),
        }
    }

    /// Sends a packed model to the GPU, piece by piece; `progress` hears the bytes so far.
    pub(crate) async fn load_packed<P: Pieces>(
        gpu: &Gpu,
        pieces: &P,
        config: &TextConfig,
        options: &ModelOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError>
    where
        P::Piece: HostBytes,
    {
        let plan = &pieces.manifest().plan;
        let tensors: Vec<_> = plan
            .tensors
            .iter()
            .map(|tensor| {
                let (rows, columns) = tensor.extent();
                (tensor.name.as_str(), rows, columns, tensor.storage)
            })
            .collect();
        let weights = Self::allocate(gpu, &tensors, options).await?;
        let compiled = gpu.prepare(planned(&tensors), weights.attention(&tensors, config));
        let uploaded = weights.upload_pieces(gpu, pieces, progress);
        let (uploaded, _) = future::join(uploaded, compiled).await;
        uploaded?;
        Ok(weights)
    }

    async fn upload_pieces<P: Pieces>(
        &self,
        gpu: &Gpu,
        pieces: &P,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ModelError>
    where
        P::Piece: HostBytes,
    {
        let plan = &pieces.manifest().plan;
        let count = plan.pieces();
        let reads = stream::iter(0..count).map(|index| pieces.piece(index));
        let mut read = pin!(reads.buffered(AHEAD));
        let mut loaded = 0;
        let mut in_flight = 0;
        let mut next = read.next().await;
        for index in 0..count {
            let Some(piece) = next else {
                break;
            };
            let piece = piece.map_err(CheckpointError::from)?;
            let upload = async {
                for (tensor, span) in plan.spans_of(index) {
                    let tensor = &plan.tensors[tensor];
                    let (_, columns) = tensor.extent();
                    self.write_span(gpu, (&tensor.name, columns), span, &piece)?;
                }
                let bytes = plan.piece_len(index) as u64;
                loaded += bytes;
                in_flight += bytes;
                if in_flight >= IN_FLIGHT {
                    gpu.finish().await?;
                    in_flight = 0;
                }
                Ok::<_, ModelError>(())
            };
            let (following, uploaded) = future::join(read.next(), upload).await;
            uploaded?;
            progress(loaded);
            next = following;
        }
        Ok(gpu.finish().await?)
    }

    fn write_span(
        &self,
        gpu: &Gpu,
        (name, columns): (&str, usize),
        span: Span,
        piece: &impl HostBytes,
    ) -> Result<(), ModelError> {
        let rows = span.row..span.row + span.rows;
        if let Some((matrix, before)) = self.matrix_of(name) {
            let rows = before + rows.start..before + rows.end;
            gpu.write_packed_rows(matrix, rows, piece, span.weights, span.scales)?;
        } else if let Some(vector) = self.vector_of(name, columns)? {
            gpu.write_packed_numbers(&vector, rows, piece, span.weights)?;
        }
        Ok(())
    }

    /// Streams the checkpoint to the GPU, a few rows at a time; `progress` hears the bytes so far.
    pub(crate) async fn load<S: Source>(
        gpu: &Gpu,
        checkpoint: &Checkpoint<S>,
        options: &ModelOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError> {
        let recipe = options.recipe.as_ref().unwrap_or(&Recipe::AS_STORED);
        let config = &checkpoint.config().text;
        let tensors = checkpoint.tensors();
        let stored: Vec<_> = tensors
            .iter()
            .map(|tensor| {
                let storage = recipe.storage_of(tensor);
                (tensor.name.as_str(), tensor.rows(), tensor.cols(), storage)
            })
            .collect();
        let weights = Self::allocate(gpu, &stored, options).await?;
        let compiled = gpu.prepare(planned(&stored), weights.attention(&stored, config));
        let uploaded = weights.upload_slices(gpu, checkpoint, progress);
        let (uploaded, _) = future::join(uploaded, compiled).await;
        uploaded?;
        Ok(weights)
    }

    async fn upload_slices<S: Source>(
        &self,
        gpu: &Gpu,
        checkpoint: &Checkpoint<S>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ModelError> {
        let tensors = checkpoint.tensors();
        let mut loaded = 0;
        let mut in_flight = 0;
        let mut packed = Packed::default();
        let mut slices = checkpoint.slices(PIECE);
        while let Some(slice) = slices.next().await? {
            let bytes = slice.bytes.len() as u64;
            if let Some(tensor) = tensors.get(slice.tensor) {
                if let Some((matrix, before)) = self.matrix_of(&tensor.name) {
                    let to = matrix.precision();
                    pack(to, tensor.dtype, tensor.cols(), &slice.bytes, &mut packed).map_err(
                        |reason| ModelError::Quantize {
                            tensor: tensor.name.clone(),
                            reason: reason.in_rows_from(slice.rows.start),
                        },
                    )?;
                    let rows = before + slice.rows.start..before + slice.rows.end;
                    gpu.write_matrix(matrix, rows, &packed)?;
                } else if let Some(vector) = self.vector_of(&tensor.name, tensor.cols())? {
                    gpu.write_widened(&vector, slice.rows.start, tensor.dtype, &slice.bytes)?;
                }
            }
            loaded += bytes;
            in_flight += bytes;
            if in_flight >= IN_FLIGHT {
                gpu.finish().await?;
                in_flight = 0;
            }
            progress(loaded);
        }
        Ok(gpu.finish().await?)
    }

    pub(crate) fn matrix(&mut self, name: &str) -> Result<Matrix, ModelError> {
        self.matrices.remove(name).ok_or_else(|| absent(name))
    }

    /// Projections of the same numbers, by the name of the whole.
    pub(crate) fn stack(&mut self, whole: &str) -> Result<Stack, ModelError> {
        if let Some(matrix) = self.matrices.remove(whole) {
            return Ok(Stack(vec![matrix]));
        }
        let parts = stack::names_of_parts(whole);
        let parts = parts.iter().map(|part| self.matrix(part));
        Ok(Stack(parts.collect::<Result<_, _>>()?))
    }

    pub(crate) fn optional_matrix(&mut self, name: &str) -> Option<Matrix> {
        self.matrices.remove(name)
    }

    pub(crate) fn vector(&mut self, name: &str) -> Result<Tensor, ModelError> {
        self.vectors.remove(name).ok_or_else(|| absent(name))
    }

    pub(crate) fn position_embedding(&mut self) -> Result<Tensor, ModelError> {
        self.vector(POSITION_EMBEDDING)
    }
}

/// The matrices there will be; one of several tensors comes as often as it has those.
fn planned(tensors: &[Stored<'_>]) -> impl Iterator<Item = Planned> {
    let find = |name: &str| {
        let found = tensors.iter().find(|(other, ..)| *other == name);
        found.map(|(_, rows, columns, storage)| (*rows, *columns, *storage))
    };
    tensors
        .iter()
        .filter_map(move |(name, rows, columns, storage)| {
            let Storage::Matrix(precision) = storage else {
                return None;
            };
            let role = match *name {
                name if name.starts_with(LAYERS) && stack::is_gated(name) => MatrixRole::Gated,
                name if name.starts_with(LAYERS) && stack::is_attended(name) => MatrixRole::Normed,
                name if name.starts_with(LAYERS) => MatrixRole::Both,
                name if name.starts_with("language_model.") => MatrixRole::Vocabulary,
                _ => MatrixRole::Rows,
            };
            Some(Planned {
                precision: *precision,
                rows: stack::place(name, find).map_or(*rows, |whole| whole.rows),
                columns: *columns,
                role,
            })
        })
}

/// Pictures alone are more than 1,000 tokens.
fn is_long(tensors: &[Stored<'_>]) -> bool {
    let position = tensors
        .iter()
        .find(|(name, ..)| *name == POSITION_EMBEDDING);
    position.is_some_and(|(_, patches, ..)| *patches > 1000)
}

/// Precision and columns of each matrix.
fn matrices<'t>(
    tensors: impl Iterator<Item = &'t Stored<'t>>,
) -> impl Iterator<Item = (Precision, usize)> {
    tensors.filter_map(|(_, _, columns, storage)| match storage {
        Storage::Matrix(precision) => Some((*precision, *columns)),
        Storage::Numbers => None,
    })
}

/// `Checkpoint::open` has found every tensor, so this is a disagreement between our own lists.
fn absent(name: &str) -> ModelError {
    ModelError::Gpu(paligemma_gpu::GpuError::Shape {
        kernel: "load",
        detail: format!("{name} was not loaded"),
    })
}
