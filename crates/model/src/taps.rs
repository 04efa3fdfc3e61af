use paligemma_gpu::{Gpu, GpuError, Recorder, Tensor};

/// Intermediate tensors, copied aside while a forward pass is recorded. Nothing is copied unless
/// asked for: they are many and large.
#[derive(Default)]
pub struct Taps {
    wanted: bool,
    tensors: Vec<(String, Tensor)>,
}

impl Taps {
    /// Copies nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Copies everything that has a name.
    #[must_use]
    pub fn all() -> Self {
        Self {
            wanted: true,
            tensors: Vec::new(),
        }
    }

    /// Something is wanted.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// What was copied, in the order of computation: name and `[tokens, features]`.
    #[must_use]
    pub fn take(&mut self) -> Vec<(String, Tensor)> {
        std::mem::take(&mut self.tensors)
    }

    pub(crate) fn tap(
        &mut self,
        gpu: &Gpu,
        recorder: &mut Recorder,
        name: impl FnOnce() -> String,
        tensor: &Tensor,
    ) -> Result<(), GpuError> {
        if self.wanted {
            let name = name();
            let copy =
                gpu.tensor_with_stride(&name, tensor.rows(), tensor.columns(), tensor.stride())?;
            recorder.copy(tensor, &copy);
            self.tensors.push((name, copy));
        }
        Ok(())
    }
}
