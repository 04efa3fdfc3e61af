//! Mask decoders in every form that is read, and files that only look like one.

use half::f16;
use paligemma_checkpoint::{MASK_FILES, MaskWeights, Origin, Plan, Recipe};

use crate::support::{SINGLE, Weights, assemble, folder, memory, open, says};

/// The demo model's, in f16.
fn demo() -> Vec<u8> {
    std::fs::read(folder("web/demo/model/vae-oid.safetensors")).unwrap()
}

/// A member of a zip.
struct Member {
    name: String,
    content: Vec<u8>,
    method: u16,
}

/// A zip as Python's zipfile writes it: sizes in both headers, no descriptor.
fn zip(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for Member {
        name,
        content,
        method,
    } in members
    {
        let data = match method {
            8 => miniz_oxide::deflate::compress_to_vec(content, 6),
            _ => content.clone(),
        };
        let offset = out.len() as u32;
        let mut common = Vec::new();
        common.extend(20u16.to_le_bytes()); // version
        common.extend(0u16.to_le_bytes()); // flags
        common.extend(method.to_le_bytes());
        common.extend([0; 4]); // time and date
        common.extend(rawzip::crc32(content).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes()); // extra field
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(&data);
        directory.extend(b"PK\x01\x02");
        directory.extend(20u16.to_le_bytes());
        directory.extend(&common);
        directory.extend([0; 10]); // comment, disk, attributes
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = out.len() as u32;
    let count = (members.len() as u16).to_le_bytes();
    let length = directory.len() as u32;
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend(length.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

fn npy(header: &str, numbers: &[u8]) -> Vec<u8> {
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((padded as u16).to_le_bytes());
    out.extend(format!("{header:<width$}\n", width = padded - 1).as_bytes());
    out.extend(numbers);
    out
}

fn shape_text(shape: &[usize]) -> String {
    let dimensions: Vec<String> = shape.iter().map(usize::to_string).collect();
    match &dimensions[..] {
        [only] => format!("({only},)"),
        several => format!("({})", several.join(", ")),
    }
}

/// The demo model's arrays as `.npy`, in f32.
fn members(method: u16) -> Vec<Member> {
    let weights = MaskWeights::read("demo", &demo()).unwrap();
    MaskWeights::shapes()
        .map(|(name, shape)| {
            let numbers = weights.tensor(name).iter();
            let numbers: Vec<u8> = numbers.flat_map(|n| n.to_le_bytes()).collect();
            let shape = shape_text(shape);
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
            Member {
                name: format!("{name}.npy"),
                content: npy(&header, &numbers),
                method,
            }
        })
        .collect()
}

fn refusal(file: &str, bytes: &[u8]) -> String {
    match MaskWeights::read(file, bytes) {
        Ok(_) => panic!("a broken mask decoder was read"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_form_gives_the_same_numbers() {
    let bytes = demo();
    let wanted = MaskWeights::read("vae-oid.safetensors", &bytes).unwrap();
    // The published arrays have so many numbers.
    let all: usize = MaskWeights::shapes()
        .map(|(name, shape)| {
            assert_eq!(wanted.tensor(name).len(), shape.iter().product::<usize>());
            wanted.tensor(name).len()
        })
        .sum();
    assert_eq!(all, 1_123_457 + 65_536);
    assert!(wanted.tensor("decoder.1.weight").is_empty());

    // The first number of the file, widened by another library.
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let first = f16::from_le_bytes([bytes[8 + header], bytes[9 + header]]);
    assert_eq!(wanted.tensor("_vq_vae._embedding")[0], first.to_f32());

    for method in [0, 8] {
        let npz = zip(&members(method));
        assert_eq!(MaskWeights::read("vae-oid.npz", &npz).unwrap(), wanted);
    }
    // As safetensors in f32, half of the arrays in f16, others among them, out of order.
    let mut mixed = Weights {
        header: serde_json::Map::new(),
        data: Vec::new(),
    };
    mixed.append("decoder.999", "I64", &[1], &[0; 8]);
    let shapes: Vec<_> = MaskWeights::shapes().collect();
    for (index, (name, shape)) in shapes.into_iter().enumerate().rev() {
        let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        let numbers = wanted.tensor(name).iter();
        if index % 2 == 0 {
            let bytes: Vec<u8> = numbers.flat_map(|n| n.to_le_bytes()).collect();
            mixed.append(name, "F32", &shape, &bytes);
        } else {
            let halves = numbers.flat_map(|n| f16::from_f32(*n).to_le_bytes());
            mixed.append(name, "F16", &shape, &halves.collect::<Vec<u8>>());
        }
    }
    assert_eq!(MaskWeights::read("x", &mixed.bytes()).unwrap(), wanted);
}

/// The published file has the encoder and training's statistics beside the decoder.
#[test]
fn other_arrays_are_left_alone() {
    let mut members = members(0);
    members.insert(
        0,
        Member {
            name: "encoder.0.weight.npy".to_owned(),
            content: b"not even an array".to_vec(),
            method: 93, // Zstandard
        },
    );
    members.push(Member {
        name: "../decoder.0.weight.npy".to_owned(),
        content: Vec::new(),
        method: 0,
    });
    MaskWeights::read("vae-oid.npz", &zip(&members)).unwrap();
}

#[test]
fn headers_that_numpy_writes_are_read() {
    let bias = |header: &str| {
        let mut members = members(0);
        let numbers = 1.5f32.to_le_bytes();
        let member = members.last_mut().unwrap();
        assert_eq!(member.name, "decoder.12.bias.npy");
        member.content = npy(header, &numbers);
        MaskWeights::read("vae-oid.npz", &zip(&members)).unwrap()
    };
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
        "{'shape': (1,), 'fortran_order': False, 'descr': '<f4'}",
        "{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (1,)}",
        // Of one dimension both orders are the same.
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }",
    ] {
        assert_eq!(bias(header).tensor("decoder.12.bias"), [1.5]);
    }
}

#[test]
fn arrays_that_are_something_else_are_refused_by_name() {
    let with = |name: &str, change: &dyn Fn(&mut Member)| {
        let mut members = members(0);
        let member = members.iter_mut().find(|m| m.name == name).unwrap();
        change(member);
        refusal("vae-oid.npz", &zip(&members))
    };
    let header = |text: &'static str| {
        move |member: &mut Member| member.content = npy(text, &1f32.to_le_bytes())
    };
    let name = "decoder.12.bias.npy";
    for (text, part) in [
        (
            "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }",
            ">f4",
        ),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
            "<f8",
        ),
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            "|O",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
            "4 bytes",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }",
            "[1, 1]",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
            "[]",
        ),
        (
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }",
            "column by column",
        ),
        ("{'descr': '<f4', 'fortran_order': False}", "NumPy"),
        (
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
            "NumPy",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
            "NumPy",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "NumPy",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "NumPy",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999)}",
            "4 bytes",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} or []",
            "NumPy",
        ),
        ("__import__('os')", "NumPy"),
        ("{", "NumPy"),
    ] {
        says(
            &with(name, &header(text)),
            &["decoder.12.bias", "vae-oid.npz", part],
        );
    }
    says(
        &with(name, &|m| m.content = b"\x93NUMPY\x04\x00\x00\x00".to_vec()),
        &["decoder.12.bias", "version 4"],
    );
    for cut in [0, 3, 7, 8, 9, 20] {
        says(
            &with(name, &|m| m.content.truncate(cut)),
            &["decoder.12.bias", "vae-oid.npz"],
        );
    }
    says(
        &with(name, &|m| {
            let end = m.content.len();
            m.content[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        }),
        &["decoder.12.bias", "not finite"],
    );
    says(
        &with("decoder.4.weight.npy", &|m| {
            m.name = "decoder.5.weight.npy".into()
        }),
        &["decoder.4.weight", "not there"],
    );
    says(
        &with("decoder.4.weight.npy", &|m| m.method = 12),
        &["decoder.4.weight", "deflate"],
    );
}

#[test]
fn damaged_zips_are_refused_and_nothing_panics() {
    let good = zip(&members(8));
    // A byte of compressed numbers; a byte of stored ones.
    let mut bent = good.clone();
    bent[200_000] ^= 0x55;
    says(&refusal("vae-oid.npz", &bent), &["vae-oid.npz"]);
    let mut bent = zip(&members(0));
    bent[200_000] ^= 0x55;
    says(&refusal("vae-oid.npz", &bent), &["vae-oid.npz", "checksum"]);

    for length in (0..good.len())
        .step_by(good.len() / 97)
        .chain([1, 2, 3, 4, 21, 22])
    {
        says(&refusal("vae-oid.npz", &good[..length]), &["vae-oid.npz"]);
    }
    // Bytes of the first entry of the directory, of the last, and of the end. What is announced
    // for an array that is not there ends each attempt early.
    let mut few = members(0);
    few.truncate(3);
    few.iter_mut()
        .for_each(|member| member.content.truncate(700));
    let few = zip(&few);
    for at in few.len() - 240..few.len() {
        for bits in [0x01, 0x80, 0xff] {
            let mut bent = few.clone();
            bent[at] ^= bits;
            says(&refusal("vae-oid.npz", &bent), &["vae-oid.npz"]);
        }
    }
}

/// Few bytes that stand for very many.
#[test]
fn what_unfolds_without_end_is_stopped() {
    let mut members = members(0);
    members[0].content = vec![0; 40 << 20];
    members[0].method = 8;
    let bomb = zip(&members);
    assert!(bomb.len() < 6 << 20);
    let said = refusal("vae-oid.npz", &bomb);
    says(&said, &["_vq_vae._embedding", "41943040"]);

    // The directory says less than there is.
    let mut liar = bomb.clone();
    for at in 0..liar.len() - 4 {
        if liar[at..at + 4] == (40u32 << 20).to_le_bytes() {
            liar[at..at + 4].copy_from_slice(&262_272u32.to_le_bytes());
        }
    }
    let said = refusal("vae-oid.npz", &liar);
    says(&said, &["_vq_vae._embedding", "decompressed"]);
}

#[test]
fn safetensors_that_are_something_else_are_refused() {
    let changed = |change: &dyn Fn(&mut Weights)| {
        let bytes = demo();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut weights = Weights {
            header: serde_json::from_slice(header).unwrap(),
            data: data.to_vec(),
        };
        change(&mut weights);
        refusal("vae-oid.safetensors", &weights.bytes())
    };
    let name = "decoder.8.weight";
    says(
        &changed(&|w| w.tensor(name)["dtype"] = "BF16".into()),
        &[name, "BF16", "float16"],
    );
    says(
        &changed(&|w| w.tensor(name)["shape"] = vec![32, 64, 4, 4].into()),
        &[name, "[32, 64, 4, 4]", "[64, 32, 4, 4]"],
    );
    says(
        &changed(&|w| w.rename(|tensor| tensor.replace("decoder.8", "encoder.8"))),
        &["decoder.8", "not there"],
    );
    let bytes = demo();
    for length in [0, 5, 8, 100, bytes.len() - 1] {
        let said = refusal("vae-oid.safetensors", &bytes[..length]);
        says(&said, &["vae-oid.safetensors"]);
    }
    says(&refusal("x", &assemble(b"[]", &[])), &["x", "safetensors"]);
    says(&refusal("x", &vec![0; (64 << 20) + 1]), &["x", "limit"]);
    says(
        &refusal("x", b"version https://git-lfs.github.com/spec/v1\n"),
        &["x", "git lfs pull"],
    );
    // A checkpoint's own weights.
    let model = std::fs::read(folder(SINGLE).join("model.safetensors")).unwrap();
    says(
        &refusal("model.safetensors", &model),
        &["_vq_vae._embedding"],
    );
}

/// A packed model carries one mask decoder, whichever comes first; without one its plan, and so its
/// key, is what it was before there were any.
#[test]
fn a_mask_decoder_is_one_of_the_side_files() {
    let plan = |files: &[&str]| {
        let mut source = memory(SINGLE);
        for file in files {
            source.insert(*file, demo());
        }
        let checkpoint = open(source);
        let plan = Plan::new(&checkpoint, Origin::default(), &Recipe::AS_STORED);
        pollster::block_on(plan).unwrap()
    };
    let none = plan(&[]);
    assert!(
        none.files
            .iter()
            .all(|file| !MASK_FILES.contains(&file.path.as_str()))
    );
    for file in MASK_FILES {
        let with = plan(&[file]);
        assert_eq!(with.files.len(), none.files.len() + 1);
        assert_eq!(with.files.last().unwrap().path, file);
        assert_ne!(with.key(), none.key());
    }
    let both = plan(&["codec/vae-oid.npz", "vae-oid.npz"]);
    assert_eq!(both.files.last().unwrap().path, "vae-oid.npz");
    assert_eq!(both.files.len(), none.files.len() + 1);
}
