use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::pin;

use futures_util::future::{self, Either, LocalBoxFuture};
use futures_util::{StreamExt, stream};
use paligemma_checkpoint::{
    Checkpoint, CheckpointError, Packed, Pieces, Precision, Recipe, Source, Span, Storage, pack,
};
use paligemma_gpu::{CachePrecision, Gpu, GpuError, HostBytes, Matrix, Tensor};

use crate::error::ModelError;
use crate::model::ModelOptions;
use crate::sizes::WeightSizes;
use crate::stack::{self, Stack, Stored};

/// Bytes asked of a source at a time: few requests for gigabytes, and still little memory.
const PIECE: usize = 16 << 20;

/// Bytes handed to the GPU before those as many before them are waited for: uploads are staged, and the
/// staging must not grow with the model.
const BATCH: u64 = 32 << 20;

/// Pieces that are read and checked at a time, while one before them is uploaded: a store, a hash
/// and a GPU each wait for nobody else.
const AHEAD: usize = 3;

/// Pieces that wait for their upload, checked.
const WAITING: usize = 2;

/// What was handed to the GPU and has not arrived: two batches at most, so that it has something to do
/// while the next one is being made.
struct Staged<'g> {
    gpu: &'g Gpu,
    bytes: u64,
    before: Option<LocalBoxFuture<'g, Result<(), GpuError>>>,
}

impl<'g> Staged<'g> {
    fn new(gpu: &'g Gpu) -> Self {
        Self {
            gpu,
            bytes: 0,
            before: None,
        }
    }

    /// So many bytes were handed over.
    async fn add(&mut self, bytes: u64) -> Result<(), ModelError> {
        self.bytes += bytes;
        if self.bytes < BATCH {
            return Ok(());
        }
        self.bytes = 0;
        let batch = Box::pin(self.gpu.flush());
        if let Some(before) = self.before.replace(batch) {
            before.await?;
        }
        Ok(())
    }
}

/// What the names of the decoder's layers begin with.
const LAYERS: &str = "language_model.model.layers.";

const POSITION_EMBEDDING: &str = "vision_tower.vision_model.embeddings.position_embedding.weight";

/// A checkpoint's tensors on the GPU, by canonical name.
///
/// Matrices are packed as the recipe says, on their way; norms, biases and the position embedding
/// are widened to f32.
///
/// Projections of the same numbers are kept as one matrix (`stack.rs`), under the name of the
/// whole; `places` tells where each of them lies. A clone is the same memory.
#[derive(Clone)]
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

    /// Room for a packed model.
    pub(crate) async fn for_pieces(
        gpu: &Gpu,
        pieces: &impl Pieces,
        options: &ModelOptions,
    ) -> Result<Self, ModelError> {
        let plan = &pieces.manifest().plan;
        let tensors: Vec<_> = plan
            .tensors
            .iter()
            .map(|tensor| {
                let (rows, columns) = tensor.extent();
                (tensor.name.as_str(), rows, columns, tensor.storage)
            })
            .collect();
        Self::allocate(gpu, &tensors, options).await
    }

    /// Sends a packed model to the GPU, piece by piece; `progress` hears the bytes so far.
    pub(crate) async fn upload_pieces<P: Pieces>(
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
        let mut reads = pin!(reads.buffered(AHEAD));
        let mut staged = Staged::new(gpu);
        let mut loaded = 0;
        let mut waiting = VecDeque::new();
        for index in 0..count {
            let next = match waiting.pop_front() {
                Some(piece) => Some(piece),
                None => reads.next().await,
            };
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
                staged.add(plan.piece_len(index) as u64).await
            };
            // While the GPU is waited for, pieces are read and checked all the same.
            let read = async {
                while waiting.len() < WAITING
                    && let Some(piece) = reads.next().await
                {
                    waiting.push_back(piece);
                }
                future::pending::<Infallible>().await
            };
            match future::select(pin!(upload), pin!(read)).await {
                Either::Left((uploaded, _)) => uploaded?,
                Either::Right((never, _)) => match never {},
            }
            loaded += plan.piece_len(index) as u64;
            progress(loaded);
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

    /// Room for a checkpoint.
    pub(crate) async fn for_checkpoint<S: Source>(
        gpu: &Gpu,
        checkpoint: &Checkpoint<S>,
        options: &ModelOptions,
    ) -> Result<Self, ModelError> {
        let recipe = options.recipe.as_ref().unwrap_or(&Recipe::AS_STORED);
        let tensors = checkpoint.tensors();
        let stored: Vec<_> = tensors
            .iter()
            .map(|tensor| {
                let storage = recipe.storage_of(tensor);
                (tensor.name.as_str(), tensor.rows(), tensor.cols(), storage)
            })
            .collect();
        Self::allocate(gpu, &stored, options).await
    }

    /// Streams the checkpoint to the GPU, a few rows at a time; `progress` hears the bytes so far.
    pub(crate) async fn upload_slices<S: Source>(
        &self,
        gpu: &Gpu,
        checkpoint: &Checkpoint<S>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ModelError> {
        let tensors = checkpoint.tensors();
        let mut staged = Staged::new(gpu);
        let mut loaded = 0;
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
            staged.add(bytes).await?;
            loaded += bytes;
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
