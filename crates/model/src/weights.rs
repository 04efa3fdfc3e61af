use std::collections::HashMap;

use futures_util::future;
use paligemma_checkpoint::{
    Checkpoint, CheckpointError, Packed, Pieces, Recipe, Source, Span, Storage, pack,
};
use paligemma_gpu::{Gpu, HostBytes, Matrix, Tensor};

use crate::error::ModelError;
use crate::sizes::WeightSizes;

/// Bytes asked of a source at a time: few requests for gigabytes, and still little memory.
const PIECE: usize = 16 << 20;

/// Bytes handed to the GPU before it is waited for: uploads are staged, and the staging must not
/// grow with the model.
const IN_FLIGHT: u64 = 64 << 20;

const POSITION_EMBEDDING: &str = "vision_tower.vision_model.embeddings.position_embedding.weight";

/// A checkpoint's tensors on the GPU, by canonical name.
///
/// Matrices are packed as the recipe says, on their way; norms, biases and the position embedding
/// are widened to f32.
pub(crate) struct Weights {
    pub(crate) matrices: HashMap<String, Matrix>,
    pub(crate) vectors: HashMap<String, Tensor>,
    pub(crate) sizes: WeightSizes,
}

impl Weights {
    /// Room for these tensors.
    pub(crate) async fn allocate<'t>(
        gpu: &Gpu,
        tensors: impl Iterator<Item = (&'t str, usize, usize, Storage)>,
    ) -> Result<Self, ModelError> {
        let mut weights = Self {
            matrices: HashMap::new(),
            vectors: HashMap::new(),
            sizes: WeightSizes::default(),
        };
        for (name, rows, columns, storage) in tensors {
            weights.sizes.add(name, rows, columns, storage);
            match storage {
                Storage::Numbers => {
                    let vector = gpu.tensor(name, rows, columns)?;
                    weights.vectors.insert(name.to_owned(), vector);
                }
                Storage::Matrix(precision) => {
                    let matrix = gpu.matrix(name, rows, columns, precision)?;
                    weights.matrices.insert(name.to_owned(), matrix);
                }
            }
        }
        gpu.finish().await?;
        Ok(weights)
    }

    /// Sends a packed model to the GPU, piece by piece; `progress` hears the bytes so far.
    pub(crate) async fn load_packed<P: Pieces>(
        gpu: &Gpu,
        pieces: &P,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError>
    where
        P::Piece: HostBytes,
    {
        let plan = &pieces.manifest().plan;
        let weights = Self::allocate(
            gpu,
            plan.tensors.iter().map(|tensor| {
                let (rows, columns) = tensor.extent();
                (tensor.name.as_str(), rows, columns, tensor.storage)
            }),
        )
        .await?;
        let count = plan.pieces();
        let read = async |index| match index < count {
            true => pieces.piece(index).await.map(Some),
            false => Ok(None),
        };
        let mut loaded = 0;
        let mut in_flight = 0;
        let mut next = read(0).await.map_err(CheckpointError::from)?;
        for index in 0..count {
            let Some(piece) = next.take() else {
                break;
            };
            let upload = async {
                for (tensor, span) in plan.spans_of(index) {
                    weights.write_span(gpu, &plan.tensors[tensor].name, span, &piece)?;
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
            // The next piece is on its way while this one is being uploaded.
            let (following, uploaded) = future::join(read(index + 1), upload).await;
            uploaded?;
            progress(loaded);
            next = following.map_err(CheckpointError::from)?;
        }
        gpu.finish().await?;
        Ok(weights)
    }

    fn write_span(
        &self,
        gpu: &Gpu,
        name: &str,
        span: Span,
        piece: &impl HostBytes,
    ) -> Result<(), ModelError> {
        let rows = span.row..span.row + span.rows;
        if let Some(matrix) = self.matrices.get(name) {
            gpu.write_packed_rows(matrix, rows, piece, span.weights, span.scales)?;
        } else if let Some(vector) = self.vectors.get(name) {
            gpu.write_packed_numbers(vector, rows, piece, span.weights)?;
        }
        Ok(())
    }

    /// Streams the checkpoint to the GPU, a few rows at a time; `progress` hears the bytes so far.
    pub(crate) async fn load<S: Source>(
        gpu: &Gpu,
        checkpoint: &Checkpoint<S>,
        recipe: &Recipe,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError> {
        let tensors = checkpoint.tensors();
        let weights = Self::allocate(
            gpu,
            tensors.iter().map(|tensor| {
                let storage = recipe.storage_of(tensor);
                (tensor.name.as_str(), tensor.rows(), tensor.cols(), storage)
            }),
        )
        .await?;

        let mut loaded = 0;
        let mut in_flight = 0;
        let mut packed = Packed::default();
        let mut slices = checkpoint.slices(PIECE);
        while let Some(slice) = slices.next().await? {
            let bytes = slice.bytes.len() as u64;
            if let Some(tensor) = tensors.get(slice.tensor) {
                if let Some(matrix) = weights.matrices.get(&tensor.name) {
                    let to = matrix.precision();
                    pack(to, tensor.dtype, tensor.cols(), &slice.bytes, &mut packed).map_err(
                        |reason| ModelError::Quantize {
                            tensor: tensor.name.clone(),
                            reason: reason.in_rows_from(slice.rows.start),
                        },
                    )?;
                    gpu.write_matrix(matrix, slice.rows, &packed)?;
                } else if let Some(vector) = weights.vectors.get(&tensor.name) {
                    gpu.write_widened(vector, slice.rows.start, tensor.dtype, &slice.bytes)?;
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
        gpu.finish().await?;
        Ok(weights)
    }

    pub(crate) fn matrix(&mut self, name: &str) -> Result<Matrix, ModelError> {
        self.matrices.remove(name).ok_or_else(|| absent(name))
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

/// `Checkpoint::open` has found every tensor, so this is a disagreement between our own lists.
fn absent(name: &str) -> ModelError {
    ModelError::Gpu(paligemma_gpu::GpuError::Shape {
        kernel: "load",
        detail: format!("{name} was not loaded"),
    })
}
