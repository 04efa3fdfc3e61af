//! Who computes products of a single row.

use crate::device::Gpu;
use crate::matrix::{BLOCK, Matvec};
use crate::shader::Shader;

impl Gpu {
    /// Who computes products of a single row with a matrix of so many rows and blocks.
    pub(crate) fn matvec(&self, kernel: Matvec, rows: usize, blocks: usize, exact: bool) -> Team {
        let variants = self.variants();
        if variants.fours > 0 {
            let bytes = kernel.bytes.filter(|_| variants.bytes && !exact);
            let at_once = match bytes {
                Some(_) => kernel.at_once,
                None => 2 * BLOCK,
            };
            return Team {
                reads_bytes: bytes.is_some(),
                packs: kernel.packs.filter(|_| bytes.is_some()),
                ..self.fours(bytes.unwrap_or(kernel.fours), rows, blocks, at_once)
            };
        }
        // Few outputs are shared by more, so that every core has some.
        const LEAST_GROUPS: usize = 8;
        let mut lanes = variants.matvec_lanes.clamp(1, 64);
        while lanes < 16 && (rows.div_ceil(2) * lanes as usize) < 64 * LEAST_GROUPS {
            lanes *= 2;
        }
        let fits = lanes > 1 && lanes <= self.0.subgroup_size;
        // As many as were measured, and found to be neighbours.
        let wanted = variants.subgroups && lanes == variants.matvec_lanes;
        let subgroups = kernel.subgroups.filter(|_| fits && wanted);
        Team {
            shader: subgroups.unwrap_or(kernel.plain),
            lanes,
            outputs: 2,
            workgroup: 64,
            reads_bytes: false,
            packs: None,
        }
    }

    /// Who computes them with the norm before them inside, if that is in force and there is such a kernel.
    pub(crate) fn normed(&self, kernel: Matvec, rows: usize, blocks: usize) -> Option<Team> {
        let shader = kernel.norms.filter(|_| self.variants().norms)?;
        Some(self.fours(shader, rows, blocks, 2 * BLOCK))
    }

    /// A team of a kernel of four outputs, whose invocations read so many inputs at once.
    fn fours(&self, shader: &'static Shader, rows: usize, blocks: usize, at_once: usize) -> Team {
        let wanted = self.variants().fours as usize / rows.div_ceil(4).max(1);
        // No more than there are inputs to share; and not so few that what neighbours read of a row is
        // less than memory moves at a time.
        let most = (blocks * BLOCK).div_ceil(at_once.max(1)).max(1);
        let most = most.next_power_of_two().min(256);
        let lanes = wanted.max(1).next_power_of_two().clamp(8.min(most), most);
        Team {
            shader,
            lanes: lanes as u32,
            outputs: 4,
            workgroup: 256,
            reads_bytes: false,
            packs: None,
        }
    }
}

/// Invocations that share products of a single row.
#[derive(Clone, Copy)]
pub(crate) struct Team {
    pub(crate) shader: &'static Shader,
    pub(crate) lanes: u32,
    /// Rows of weights that they share, and invocations of a workgroup.
    outputs: usize,
    workgroup: usize,
    /// The row is read in bytes.
    pub(crate) reads_bytes: bool,
    packs: Option<&'static Shader>,
}

impl Team {
    /// What the kernel is told: by its number, as names of what a shader imports are not kept.
    pub(crate) fn constant(&self) -> (&'static str, f64) {
        ("1", f64::from(self.lanes))
    }

    /// Workgroups for so many rows of weights.
    pub(crate) fn groups(&self, rows: usize) -> u64 {
        let teams = self.workgroup / self.lanes as usize;
        rows.div_ceil(self.outputs).div_ceil(teams) as u64
    }

    /// A team that packs what it writes, if there is such a kernel: so large that a workgroup has whole
    /// groups of 32 outputs, two of a team, and no more than it has room for.
    pub(crate) fn packing(&self) -> Option<Self> {
        Some(Self {
            shader: self.packs?,
            lanes: self.lanes.clamp(8, 16),
            ..*self
        })
    }
}
