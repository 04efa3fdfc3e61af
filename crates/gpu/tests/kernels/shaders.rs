//! What every shader must keep to, so that it runs wherever WebGPU does.

use std::collections::HashSet;

use naga::proc::GlobalCtx;
use naga::{AddressSpace, Module, StorageAccess};
use paligemma_gpu::shader::{ALL, Binding, Feature, Shader};

// WebGPU's default limits.
const WORKGROUP_BYTES: u32 = 16_384;
const INVOCATIONS: u32 = 256;
const WORKGROUP_SIZE: [u32; 3] = [256, 256, 64];
const STORAGE_BUFFERS: usize = 8;
const UNIFORM_BYTES: u32 = 65_536;

fn parse(shader: &Shader) -> Module {
    naga::front::wgsl::parse_str(shader.source)
        .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(shader.source)))
}

/// Bytes of all variables in an address space.
fn bytes(module: &Module, space: AddressSpace) -> u32 {
    let context: GlobalCtx<'_> = module.to_ctx();
    module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == space)
        .map(|(_, variable)| module.types[variable.ty].inner.size(context))
        .sum()
}

#[test]
fn names_are_unique() {
    assert!(!ALL.is_empty());
    let names: HashSet<_> = ALL.iter().map(|shader| shader.name).collect();
    assert_eq!(names.len(), ALL.len());
}

#[test]
fn limits_are_the_baseline() {
    for shader in ALL {
        let module = parse(shader);
        let name = shader.name;
        let size = shader.workgroup_size;
        assert!(
            bytes(&module, AddressSpace::WorkGroup) <= WORKGROUP_BYTES,
            "{name}"
        );
        assert!(
            bytes(&module, AddressSpace::Uniform) <= UNIFORM_BYTES,
            "{name}"
        );
        assert!(size.iter().product::<u32>() <= INVOCATIONS, "{name}");
        assert!(
            size.iter().zip(WORKGROUP_SIZE).all(|(&n, most)| n <= most),
            "{name}"
        );
        let storage = shader
            .bindings
            .iter()
            .filter(|&&(_, b)| b != Binding::Uniform);
        assert!(storage.count() <= STORAGE_BUFFERS, "{name}");
    }
}

#[test]
fn nothing_optional_is_used_but_what_a_name_says() {
    for shader in ALL {
        let directive = shader
            .source
            .split(['\n', ';'])
            .map(str::trim)
            .find(|statement| {
                let word = statement.split_whitespace().next();
                matches!(word, Some("enable" | "requires"))
            });
        let name = shader.name;
        let cooperative = name.starts_with("matmul_cooperative_");
        let half = name.starts_with("matmul_half_") || name == "halve_rows" || cooperative;
        assert_eq!(directive, half.then_some("enable f16"), "{name}");
        let extension = shader.source.contains("enable wgpu_cooperative_matrix");
        assert_eq!(extension, cooperative, "{name}");
        assert_eq!(shader.source.contains("<f16"), half, "{name}");
        let subgroups = !cooperative && shader.source.contains("subgroup");
        assert_eq!(subgroups, name.ends_with("_subgroups"), "{name}");
        let enables = shader
            .source_for_browsers()
            .starts_with("enable subgroups;");
        assert_eq!(subgroups, enables, "{name}");
        let needs = match (subgroups, half, cooperative) {
            (_, _, true) => Some(Feature::CooperativeMatrix),
            (true, ..) => Some(Feature::Subgroups),
            (_, true, _) => Some(Feature::F16),
            (false, false, false) => None,
        };
        assert_eq!(shader.needs, needs, "{name}");
    }
}

/// Devices are told that loops need no counter of their own: each is a `for` that counts up to a bound.
#[test]
fn loops_end() {
    for shader in ALL {
        let words = shader
            .source
            .split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words {
            assert!(!matches!(word, "while" | "loop"), "{}: {word}", shader.name);
        }
        for header in shader.source.split("for (").skip(1) {
            let header = header.split('{').next().unwrap_or_default();
            let [start, bound, step] = header.split(';').collect::<Vec<_>>()[..] else {
                panic!("{}: {header}", shader.name);
            };
            let counter = start
                .trim()
                .strip_prefix("var ")
                .and_then(|it| it.split(['=', ':', ' ']).next());
            let counter = counter.unwrap_or_else(|| panic!("{}: {header}", shader.name));
            let counts = ["++", " += ", " *= "];
            let below = [format!("{counter} < "), format!("{counter} <= ")];
            assert!(
                below.iter().any(|it| bound.contains(it)),
                "{}: {header}",
                shader.name
            );
            // What is multiplied does not begin with nothing.
            let multiplied = step.contains("*=");
            assert!(
                !(multiplied && start.contains("= 0u")),
                "{}: {header}",
                shader.name
            );
            assert!(
                counts
                    .iter()
                    .any(|it| step.trim().starts_with(&format!("{counter}{it}"))),
                "{}: {header}",
                shader.name
            );
        }
    }
}

#[test]
fn reflection_is_what_the_source_says() {
    for shader in ALL {
        let module = parse(shader);
        let [entry] = module.entry_points.as_slice() else {
            panic!("{}: one entry point", shader.name);
        };
        assert_eq!(entry.name, "main", "{}", shader.name);
        assert_eq!(
            entry.workgroup_size, shader.workgroup_size,
            "{}",
            shader.name
        );
        let mut bindings: Vec<_> = module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| {
                let binding = variable.binding?;
                let kind = match variable.space {
                    AddressSpace::Uniform => Binding::Uniform,
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                        Binding::ReadWrite
                    }
                    _ => Binding::Read,
                };
                Some((binding.group, binding.binding, kind))
            })
            .collect();
        bindings.sort_unstable_by_key(|&(group, number, _)| (group, number));
        let reflected = shader.bindings.iter().map(|&(i, kind)| (0, i, kind));
        assert_eq!(bindings, reflected.collect::<Vec<_>>(), "{}", shader.name);
        // The recorder has one place for a kernel's parameters.
        let uniforms = shader.bindings.iter().filter(|b| b.1 == Binding::Uniform);
        assert_eq!(uniforms.count(), 1, "{}", shader.name);
    }
}
