//! Which kernels of a step pick its token.

/// Kernels that make a token of logits, which are those after the head's product; a part or a
/// variant of one adds to its name.
const PICKING: [&str; 7] = [
    "argmax",
    "digits",
    "draw",
    "log_probs",
    "log_sum_exp",
    "process_logits",
    "top",
];

/// The kernel of this name is one of those that pick the token from the logits.
pub(super) fn picks_token(kernel: &str) -> bool {
    PICKING.iter().any(|name| {
        let rest = kernel.strip_prefix(*name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use paligemma_gpu::GpuOptions;
    use paligemma_model::{PickOne, Picking, Sampling, Session, Steering};
    use pollster::block_on;

    use super::picks_token;
    use crate::tiny::made_up;

    /// However a token is picked, what is not listed is what makes logits: seven kernels a layer
    /// or, on a GPU, eight; look-up, norm and head.
    #[test]
    fn every_kernel_after_the_head_is_listed() {
        let gpu = GpuOptions {
            timestamps: true,
            ..GpuOptions::default()
        };
        let (gpu, model) = made_up(&gpu);
        let of_a_layer = if gpu.info().is_software { 7 } else { 8 };
        let sampling = Sampling {
            temperature: 0.7,
            top_k: Some(50),
            top_p: 0.9,
        };
        let penalised = PickOne {
            repetition_penalty: 1.1,
            ..PickOne::default()
        };
        let drawn = PickOne {
            sampling: Some(sampling),
            ..PickOne::default()
        };
        let few = Picking::Few {
            count: 3,
            also: vec![5],
        };
        let ways = [PickOne::default(), penalised, drawn].map(Picking::One);
        for picking in ways.into_iter().chain([few]) {
            let mut session = Session::new(&model, 8, usize::MAX).expect("a session");
            session.pick(&model, picking.clone()).expect("room");
            session.assume(&model, 4).expect("a position");
            block_on(gpu.finish()).expect("a GPU");
            gpu.start_profile();
            let steering = Steering {
                numbers: &[0.5],
                ..Steering::default()
            };
            session.steer(&model, steering).expect("a number");
            block_on(session.decode(&model)).expect("a token");
            let times = block_on(gpu.take_profile(&|| true)).expect("times");
            let count = |picks: bool| -> usize {
                let kernels = times.iter().filter(|time| picks_token(time.name) == picks);
                kernels.map(|time| time.count).sum()
            };
            assert_eq!(count(false), of_a_layer * 2 + 3, "{picking:?}: {times:?}");
            let all = session.dispatches_per_token();
            assert_eq!(count(true), all - count(false), "{picking:?}");
        }
    }
}
