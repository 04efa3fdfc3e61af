use super::device::*;
use crate::support::upload;
#[test]
fn many_rows() {
    let gpu = open();
    let rows = 65_537;
    let x = upload::tensor(&gpu, 1, &vec![1.0; rows]);
    let scale = upload::tensor(&gpu, 1, &[1.0]);
    let y = upload::tensor(&gpu, 1, &vec![0.0; rows]);
    run(&gpu, |r| r.rms_norm(&x, &scale, 1e-6, false, &y));
    let out = read(&gpu, &y);
    eprintln!(
        "PROBE rms {} wrong",
        out.iter().filter(|x| **x == 0.0).count()
    );
    let y = upload::tensor(&gpu, 1, &vec![0.0; rows]);
    run(&gpu, |r| r.layer_norm(&x, &scale, &scale, 1e-6, &y));
    let out = read(&gpu, &y);
    eprintln!(
        "PROBE ln {} wrong",
        out.iter().filter(|x| **x == 0.0).count()
    );
}
#[test]
fn empty() {
    let gpu = open();
    let y = gpu.tensor("e", 0, 4).unwrap();
    eprintln!("PROBE empty {:?}", pollster::block_on(gpu.read_tensor(&y)));
    let z = gpu.tensor("e", 0, 4).unwrap();
    let mut r = gpu.recorder();
    r.add(&y, &z);
    r.copy(&y, &z);
    let p = r.finish().unwrap();
    gpu.submit(&p);
    eprintln!("PROBE empty add {:?}", pollster::block_on(gpu.finish()));
}
#[test]
fn narrow_slice() {
    let gpu = open();
    let y = gpu.tensor_with_stride("e", 24, 20, 20).unwrap();
    let v = y.slice_rows(8..16).unwrap();
    let mut r = gpu.recorder();
    r.soft_cap(&v, 1.0);
    let p = r.finish();
    eprintln!(
        "PROBE narrow {:?} {:?}",
        p.map(|_| ()),
        pollster::block_on(gpu.finish())
    );
}
#[test]
fn aliased() {
    let gpu = open();
    let y = gpu.tensor("e", 24, 20).unwrap();
    let v = y.slice_rows(8..16).unwrap();
    let w = y.slice_rows(16..24).unwrap();
    let mut r = gpu.recorder();
    r.add(&v, &w);
    let p = r.finish().unwrap();
    gpu.submit(&p);
    eprintln!("PROBE aliased {:?}", pollster::block_on(gpu.finish()));
}
#[test]
fn unchecked() {
    use paligemma_gpu::*;
    let gpu = open();
    let t = |r, c| gpu.tensor("t", r, c).unwrap();
    let wide = |r, c, s| gpu.tensor_with_stride("t", r, c, s).unwrap();
    let w = gpu
        .matrix("w", 6, 4, paligemma_checkpoint::Dtype::F32)
        .unwrap();
    let ok = |what: &str, f: &dyn Fn(&mut Recorder)| {
        let mut r = gpu.recorder();
        f(&mut r);
        eprintln!("PROBE {what}: accepted {}", r.finish().is_ok());
    };
    let (x, y, b) = (t(2, 4), t(2, 6), t(1, 3));
    ok("linear short bias", &|r| {
        r.linear(
            &x,
            &w,
            Linear {
                bias: Some(&b),
                ..Default::default()
            },
            &y,
        )
    });
    let x = wide(2, 4, 16);
    ok("linear x stride", &|r| {
        r.linear(&x, &w, Linear::default(), &y)
    });
    let ids = upload::indices(&gpu, &[1, 2]);
    ok("embed y stride", &|r| r.embed(&ids, &w, 1.0, &x));
    let (a, c) = (t(2, 5), t(2, 6));
    ok("scatter columns", &|r| r.scatter_rows(&a, &ids, &c));
    let cache = gpu.kv_cache(2, 5, 6).unwrap();
    let q = t(12, 22);
    let q2 = wide(12, 6, 24);
    let _ = q;
    let (query, kv) = (t(3, 24), t(3, 12));
    let table = gpu.rotary_table(9, 4, 1e4).unwrap();
    let q1 = gpu.queries(4, 3, 6).unwrap();
    let how = Heads {
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        rotary: None,
    };
    ok("split q stride", &|r| {
        r.split_heads([&query, &kv, &kv], how, &ids, &q2, &cache)
    });
    ok("split table dim", &|r| {
        r.split_heads(
            [&query, &kv, &kv],
            Heads {
                rotary: Some((&table, 0)),
                ..how
            },
            &ids,
            &q1,
            &cache,
        )
    });
    let short = gpu.rotary_table(2, 6, 1e4).unwrap();
    ok("split short table", &|r| {
        r.split_heads(
            [&query, &kv, &kv],
            Heads {
                rotary: Some((&short, 0)),
                ..how
            },
            &ids,
            &q1,
            &cache,
        )
    });
    let none = gpu.indices("none", 0).unwrap();
    let l = t(1, 5);
    ok("argmax no token", &|r| r.argmax(&l, 5, &none, &none, 1));
    ok("linear x is y", &|r| {
        let w = gpu
            .matrix("w", 4, 4, paligemma_checkpoint::Dtype::F32)
            .unwrap();
        let x = t(2, 4);
        r.linear(&x, &w, Linear::default(), &x);
    });
}
