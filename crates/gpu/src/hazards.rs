//! What has to wait for what.

use std::ops::Range;

use crate::program::Step;
use crate::shader::Binding;

/// What has been read and written since all work last waited for the work before it.
#[derive(Default)]
pub(crate) struct Hazards(Vec<Access>);

/// Bytes of a buffer that are read or written.
#[derive(Clone)]
pub(crate) struct Access {
    buffer: usize,
    bytes: Range<u64>,
    writes: bool,
}

impl Access {
    /// What a step reads and writes, as far as its bindings go.
    pub(crate) fn of(step: &Step) -> Vec<Self> {
        match step {
            Step::Dispatch { bound, .. } => {
                let access = bound.iter().map(|bound| Self {
                    buffer: bound.buffer.id(),
                    bytes: bound.bytes.clone(),
                    writes: bound.kind == Binding::ReadWrite,
                });
                access.collect()
            }
            Step::Copy {
                source,
                source_offset,
                target,
                target_offset,
                bytes,
            } => vec![
                Self {
                    buffer: source.id(),
                    bytes: *source_offset..source_offset + bytes,
                    writes: false,
                },
                Self {
                    buffer: target.id(),
                    bytes: *target_offset..target_offset + bytes,
                    writes: true,
                },
            ],
        }
    }

    fn conflicts(&self, other: &Self) -> bool {
        (self.writes || other.writes)
            && self.buffer == other.buffer
            && self.bytes.start < other.bytes.end
            && other.bytes.start < self.bytes.end
    }
}

impl Hazards {
    /// The next step has this access; true: it has to wait for all steps before, and then nothing
    /// after it has to wait for those.
    pub(crate) fn next(&mut self, access: Vec<Access>) -> bool {
        let conflict = |new: &Access| self.0.iter().any(|old| old.conflicts(new));
        let waits = access.iter().any(conflict);
        if waits {
            self.0.clear();
        }
        self.0.extend(access);
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(buffer: usize, bytes: Range<u64>) -> Access {
        Access {
            buffer,
            bytes,
            writes: false,
        }
    }

    fn writes(buffer: usize, bytes: Range<u64>) -> Access {
        Access {
            writes: true,
            ..reads(buffer, bytes)
        }
    }

    #[test]
    fn whoever_uses_what_was_written_waits() {
        for (first, second, waits) in [
            (writes(1, 0..16), reads(1, 0..16), true),
            (writes(1, 0..16), writes(1, 15..20), true),
            (reads(1, 8..16), writes(1, 0..9), true),
            (reads(1, 0..16), reads(1, 0..16), false),
            (writes(1, 0..16), writes(1, 16..32), false),
            (writes(1, 16..32), reads(1, 0..16), false),
            (writes(1, 0..16), reads(2, 0..16), false),
        ] {
            let mut hazards = Hazards::default();
            assert!(!hazards.next(vec![reads(9, 0..4), first]));
            assert_eq!(hazards.next(vec![second, reads(9, 0..4)]), waits);
        }
    }

    /// One wait is for everything before; what came with it and after it still counts.
    #[test]
    fn nobody_waits_twice_for_the_same() {
        let mut hazards = Hazards::default();
        assert!(!hazards.next(vec![writes(1, 0..16)]));
        assert!(!hazards.next(vec![writes(2, 0..16)]));
        assert!(hazards.next(vec![reads(1, 0..16), writes(3, 0..16)]));
        assert!(!hazards.next(vec![reads(2, 0..16), reads(1, 0..16)]));
        assert!(hazards.next(vec![reads(3, 0..16)]));
        assert!(!hazards.next(vec![reads(3, 0..16)]));
    }

    /// A kernel that reads and writes the same bytes does not wait for itself.
    #[test]
    fn nobody_waits_for_itself() {
        let mut hazards = Hazards::default();
        let both = vec![reads(1, 0..16), writes(1, 0..16)];
        assert!(!hazards.next(both.clone()));
        assert!(hazards.next(both));
    }
}
