//! When the GPU has done what was submitted past wgpu.

use std::cell::Cell;
use std::rc::Rc;

use wgpu::hal::{self, Device as _, Queue as _};

use super::Vulkan;

/// A number that rises with every submission that is done.
pub(crate) struct Fence {
    device: wgpu::Device,
    // Taken only when it is dropped.
    fence: Option<hal::vulkan::Fence>,
    submitted: Cell<u64>,
}

impl Fence {
    pub(crate) fn new(device: &wgpu::Device) -> Option<Rc<Self>> {
        // SAFETY: the device is not destroyed, and the fence is before it.
        let fence = unsafe { device.as_hal::<Vulkan>()?.create_fence() }.ok()?;
        Some(Rc::new(Self {
            device: device.clone(),
            fence: Some(fence),
            submitted: Cell::new(0),
        }))
    }

    /// Submits them at once; the number that says that they are done.
    ///
    /// # Safety
    /// The queue and the buffers are of the fence's device. The buffers live, with all that they use,
    /// until [`Fence::wait`] has returned true.
    pub(super) unsafe fn submit(
        &self,
        queue: &wgpu::Queue,
        buffers: &[&hal::vulkan::CommandBuffer],
    ) -> Result<u64, hal::DeviceError> {
        let Some(fence) = &self.fence else {
            return Err(hal::DeviceError::Lost);
        };
        let value = self.submitted.get() + 1;
        // SAFETY: as demanded above.
        unsafe {
            let queue = queue.as_hal::<Vulkan>().ok_or(hal::DeviceError::Lost)?;
            queue.submit(buffers, &[], (fence, value))?;
        }
        self.submitted.set(value);
        Ok(value)
    }

    /// Waits until the GPU has done what [`Fence::submit`] gave this number, and all before it; false:
    /// nobody knows whether it has.
    pub(super) fn wait(&self, value: u64) -> bool {
        let Some(fence) = &self.fence else {
            return true;
        };
        // SAFETY: the submission that signals the number has been made.
        unsafe {
            let Some(hal) = self.device.as_hal::<Vulkan>() else {
                return false;
            };
            // A lost device uses nothing any more.
            let done = hal.wait(fence, value, None);
            matches!(done, Ok(true) | Err(hal::DeviceError::Lost))
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: whoever submitted something with it owned it, and has waited.
        unsafe {
            if let (Some(hal), Some(fence)) = (self.device.as_hal::<Vulkan>(), self.fence.take()) {
                hal.destroy_fence(fence);
            }
        }
    }
}
