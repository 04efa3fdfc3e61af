use std::rc::Rc;

/// A GPU buffer that is freed when its last user goes: on the web, dropping wgpu's handle frees
/// nothing until `destroy` is called.
#[derive(Clone)]
pub(crate) struct Buffer(Rc<Owned>);

struct Owned(wgpu::Buffer);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

impl Buffer {
    pub(crate) fn new(buffer: wgpu::Buffer) -> Self {
        Self(Rc::new(Owned(buffer)))
    }

    /// Both are the same buffer, whichever part of it they are used for.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The same for the same buffer, as long as it lives.
    #[cfg(vulkan)]
    pub(crate) fn id(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.0.0
    }
}
