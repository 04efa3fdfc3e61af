use crate::buffer::Buffer;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::submit::Submission;
use crate::tensor::Tensor;

/// A place for numbers to come back to the CPU; a [`crate::Program`] copies into it.
pub struct Readback {
    pub(crate) buffer: Buffer,
    pub(crate) bytes: u64,
}

impl Gpu {
    /// Room for `count` 4-byte numbers.
    ///
    /// # Errors
    /// More bytes than one buffer may have.
    pub fn readback(&self, count: usize) -> Result<Readback, GpuError> {
        let bytes = (count as u64) * 4;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Ok(Readback {
            buffer: self.buffer("readback", bytes, usage)?,
            bytes,
        })
    }

    /// Waits for what was submitted and reads the numbers' bits.
    ///
    /// # Errors
    /// A lost device, or an earlier error that came to light.
    pub async fn read(&self, from: &Readback) -> Result<Vec<u32>, GpuError> {
        self.read_after(from, &Submission(None)).await
    }

    /// The same, but waits only for what was submitted up to there.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_after(
        &self,
        from: &Readback,
        submission: &Submission,
    ) -> Result<Vec<u32>, GpuError> {
        let buffer = from.buffer.raw();
        let (sender, receiver) = futures_channel::oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, 0..from.bytes, move |result| {
            let _ = sender.send(result);
        });
        self.poll_until(submission)?;
        let mapped = receiver.await;
        self.check()?;
        let refused = |detail: String| GpuError::Refused { detail };
        mapped
            .map_err(|_| refused("a read-back was dropped".to_owned()))?
            .map_err(|error| refused(error.to_string()))?;
        let view = buffer
            .get_mapped_range(0..from.bytes)
            .map_err(|error| refused(error.to_string()))?;
        let numbers = view
            .chunks_exact(4)
            .map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        drop(view);
        buffer.unmap();
        Ok(numbers)
    }

    /// Reads a tensor, padding left out: `rows * columns` numbers.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_tensor(&self, from: &Tensor) -> Result<Vec<f32>, GpuError> {
        let count = from.rows() * from.stride();
        let back = self.readback(count)?;
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(
            from.buffer.raw(),
            from.byte_offset(),
            back.buffer.raw(),
            0,
            Some(back.bytes),
        );
        self.0.queue.submit([encoder.finish()]);
        let bits = self.read(&back).await?;
        Ok(bits
            .chunks(from.stride().max(1))
            .flat_map(|row| &row[..from.columns()])
            .map(|bits| f32::from_bits(*bits))
            .collect())
    }
}
