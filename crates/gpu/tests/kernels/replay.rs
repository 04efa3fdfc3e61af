//! Programs that are encoded beneath wgpu's tracking from the second time on.

use paligemma_gpu::Gpu;
use pollster::block_on;

use super::device::{open, read};
use super::programs::a_step;
use crate::support::compare::assert_same_bits;
use crate::support::upload;

/// A GPU that replays; none where that does not go through Vulkan, of which then nothing is to be shown.
fn open_replaying() -> Option<Gpu> {
    let gpu = open();
    gpu.set_replays(true);
    let vulkan = gpu.info().backend == "vulkan";
    assert_eq!(gpu.replays(), vulkan, "{:?}", gpu.info());
    assert!(vulkan || cfg!(not(target_os = "linux")));
    vulkan.then_some(gpu)
}

/// What wgpu encodes and what is replayed give the same bits, whatever else is done with the buffers in
/// between, and in however many command buffers.
#[test]
fn replayed_and_tracked_programs_are_the_same() {
    for slice in [u64::MAX, 1] {
        let Some(gpu) = open_replaying() else { return };
        gpu.set_slice(slice);
        let (program, out) = a_step(&gpu);
        let program = program.for_replay();
        gpu.submit(&program);
        assert!(!program.is_replayed());
        let tracked = read(&gpu, &out);
        assert!(tracked.iter().any(|&x| x != 0.0));
        let poison = vec![f32::NAN; tracked.len()];
        for again in 1..4 {
            gpu.write(&out, 0, &poison).unwrap();
            gpu.submit(&program);
            gpu.submit(&program);
            assert_same_bits("replayed", &read(&gpu, &out), &tracked);
            assert_eq!(gpu.replayed(), 2 * again);
        }
        assert!(program.is_replayed());
        // Turned off, and once more on.
        gpu.set_replays(false);
        gpu.write(&out, 0, &poison).unwrap();
        gpu.submit(&program);
        assert_same_bits("tracked again", &read(&gpu, &out), &tracked);
        assert_eq!(gpu.replayed(), 6);
        gpu.set_replays(true);
        // A profile by repeating dispatches it again, through wgpu.
        gpu.start_profile();
        gpu.write(&out, 0, &poison).unwrap();
        gpu.submit(&program);
        block_on(gpu.take_profile(&|| true)).unwrap();
        gpu.submit(&program);
        assert_same_bits("after a profile", &read(&gpu, &out), &tracked);
        // Nothing is noted that went wrong behind our back.
        block_on(gpu.finish()).unwrap();
    }
}

/// Work of one program sees what work of another has written, replayed or not, and what was written from
/// outside, without anybody waiting.
#[test]
fn replayed_programs_see_what_came_before() {
    let Some(gpu) = open_replaying() else { return };
    let sum = upload::tensor(&gpu, 4, &[0.0; 4]);
    let one = upload::tensor(&gpu, 4, &[0.0; 4]);
    let doubled = gpu.tensor("doubled", 1, 4).unwrap();
    let add = |twice: bool| {
        let mut r = gpu.recorder();
        r.add(&one, &sum);
        if twice {
            r.copy(&sum, &doubled);
            r.add(&sum, &doubled);
        }
        r.finish().unwrap()
    };
    let replayed = add(true).for_replay();
    let tracked = add(false);
    gpu.submit(&replayed);
    let mut expected = 0.0;
    for i in 0..20 {
        let x = i as f32;
        gpu.write(&one, 0, &[x, 0.0, 1.0, -x]).unwrap();
        gpu.submit(&tracked);
        gpu.submit(&replayed);
        gpu.write(&one, 0, &[1.0, 0.0, 1.0, -1.0]).unwrap();
        gpu.submit(&replayed);
        expected += 2.0 * x + 1.0;
    }
    assert!(replayed.is_replayed() && !tracked.is_replayed());
    let (sum, doubled) = (read(&gpu, &sum), read(&gpu, &doubled));
    assert_same_bits("sum", &sum, &[expected, 0.0, 60.0, -expected]);
    let twice = [2.0 * expected, 0.0, 120.0, -2.0 * expected];
    assert_same_bits("doubled", &doubled, &twice);
}

/// Several programs in one submission are done one after the other, each as often as it is there, and
/// what is copied back is what there is after the last: by wgpu, and replayed, however much a
/// submission may hold.
#[test]
fn programs_are_replayed_together() {
    for slice in [u64::MAX, 10, 1] {
        let Some(gpu) = open_replaying() else { return };
        gpu.set_slice(slice);
        let number = upload::tensor(&gpu, 4, &[0.0; 4]);
        let one = upload::tensor(&gpu, 4, &[1.0; 4]);
        let mut r = gpu.recorder();
        r.add(&one, &number);
        let add = r.finish().unwrap().for_replay();
        let same = upload::tensor(&gpu, 4, &[0.0; 4]);
        let mut r = gpu.recorder();
        r.copy(&number, &same);
        r.add(&same, &number);
        let double = r.finish().unwrap().for_replay();
        let ids = gpu.indices("some", 2).unwrap();
        let all = gpu.indices("all", 6).unwrap();
        let keep = |at| {
            let mut r = gpu.recorder();
            r.copy_indices(&ids, &all, at);
            r.finish().unwrap().for_replay()
        };
        let [first, last] = [keep(0), keep(4)];
        let back = gpu.readback(6).unwrap();
        let mut expected = 0.0;
        for round in 0..3u32 {
            gpu.write_indices(&ids, &[round, 7]).unwrap();
            let programs = [&add, &double, &first, &add, &add, &last, &double];
            let submission = gpu.submit_and_copy(&programs, &all, &back);
            expected = ((expected + 1.0) * 2.0 + 2.0) * 2.0;
            let words = block_on(gpu.read_after(&back, &submission)).unwrap();
            assert_eq!(words, [round, 7, 0, 0, round, 7]);
            assert_same_bits("together", &read(&gpu, &number), &[expected; 4]);
            assert_eq!(gpu.replayed(), u64::from(round) * 7);
        }
        // One that has not been seen goes through wgpu, and with it those beside it.
        let new = keep(2);
        for replayed in [14, 16] {
            let submission = gpu.submit_and_copy(&[&new, &add], &all, &back);
            let words = block_on(gpu.read_after(&back, &submission)).unwrap();
            assert_eq!(words, [2, 7, 2, 7, 2, 7]);
            assert_eq!(gpu.replayed(), replayed);
        }
    }
}

/// Whoever lets go of a program, or of the GPU, need not wait for it first.
#[test]
fn a_program_may_be_dropped_while_it_is_replayed() {
    let Some(gpu) = open_replaying() else { return };
    let (program, out) = a_step(&gpu);
    gpu.submit(&program);
    let right = read(&gpu, &out);
    for _ in 0..8 {
        let (program, out) = a_step(&gpu);
        let program = program.for_replay();
        for _ in 0..20 {
            gpu.submit(&program);
        }
        assert!(program.is_replayed());
        drop(program);
        assert_same_bits("after the program", &read(&gpu, &out), &right);
    }
    block_on(gpu.finish()).unwrap();
    let program = program.for_replay();
    gpu.submit(&program);
    gpu.submit(&program);
    drop(gpu);
    drop(program);
}

/// A program that nobody means to repeat stays with wgpu, and one of an adapter that is not asked to.
#[test]
fn only_what_is_meant_to_be_is_replayed() {
    let gpu = open();
    let by_default = gpu.info().backend == "vulkan" && !gpu.info().is_software;
    assert_eq!(gpu.replays(), by_default, "{:?}", gpu.info());
    gpu.set_replays(false);
    let (program, _) = a_step(&gpu);
    let program = program.for_replay();
    gpu.submit(&program);
    gpu.submit(&program);
    assert!(!program.is_replayed());
    gpu.set_replays(true);
    let (program, _) = a_step(&gpu);
    gpu.submit(&program);
    gpu.submit(&program);
    assert!(!program.is_replayed());
    assert_eq!(gpu.replayed(), 0);
    block_on(gpu.finish()).unwrap();
}

/// Drivers that compute on the CPU do one thing after the other whether or not they are told to
/// wait, so what waits for what is proven by Khronos' validation layer instead, and that nothing is
/// destroyed while it is in use.
#[cfg(target_os = "linux")]
#[test]
fn replayed_commands_wait_as_vulkan_demands() {
    const LAYER: &str = "VK_LAYER_KHRONOS_validation";
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("vk_layer_settings.txt");
    let lines = [
        "debug_action = VK_DBG_LAYER_ACTION_LOG_MSG",
        "report_flags = error,warn,info",
        // A file would be begun anew by every GPU that a test opens.
        "log_filename = stdout",
        // Before and after the layer gave its settings other names.
        "enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,\
         VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT",
        "validate_sync = true",
        "syncval_submit_time_validation = true",
        // Without it newer ones do not look at what kernels read and write.
        "syncval_shader_accesses_heuristic = true",
    ];
    let lines = lines.map(|line| format!("khronos_validation.{line}\n"));
    std::fs::write(&settings, lines.concat()).unwrap();
    for name in [
        "replay::replayed_programs_see_what_came_before",
        "replay::replayed_and_tracked_programs_are_the_same",
        "replay::programs_are_replayed_together",
        "replay::a_program_may_be_dropped_while_it_is_replayed",
    ] {
        let test = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env("VK_INSTANCE_LAYERS", LAYER)
            .env("VK_LAYER_SETTINGS_PATH", &settings)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&test.stdout);
        assert!(log.contains("1 passed"), "{name}: {log}");
        for active in ["Validation Layer Active", "SYNCHRONIZATION_VALIDATION"] {
            assert!(
                log.contains(active),
                "{LAYER} is not there, or no {active}: {log}"
            );
        }
        let broken = |line: &&str| line.contains("SYNC-HAZARD") || line.contains("VUID-");
        let broken: Vec<&str> = log.lines().filter(broken).collect();
        assert!(broken.is_empty(), "{name}: {}", broken.join("\n"));
    }
}
