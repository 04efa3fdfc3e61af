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

    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.0.0
    }
}
