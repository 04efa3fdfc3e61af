use std::fmt::Write as _;
use std::path::Path;

use image::{ImageFormat, RgbImage};
use paligemma_engine::{
    AttentionRequest, CancelToken, DecodedPicture, EngineError, Focus, RunRequest,
};

use crate::args::AttentionArgs;
use crate::failure::{Failure, print};
use crate::progress::Progress;
use crate::run::{open, prompt};

/// `paligemma attention`.
pub(crate) async fn attention(args: &AttentionArgs) -> Result<(), Failure> {
    let about = |error: EngineError| Failure::about(&args.input.model, &error);
    let progress = Progress::new();
    let (mut engine, pictures) = open(&args.input, None, &progress).await?;
    let request = RunRequest {
        pictures: &pictures,
        prompt: prompt(&args.input),
        max_new_tokens: args.max_new_tokens,
    };
    let cancel = CancelToken::default();
    let mut show = |event| progress.show(&event);
    let answer = engine.run(&request, &cancel, &mut show).await;
    let answer = answer.map_err(about)?;
    let texts = engine.token_texts(&answer.token_ids).map_err(about)?;
    let (Some(token), Some(out)) = (args.token, &args.out) else {
        drop(progress);
        let mut list = String::new();
        for (index, text) in texts.iter().enumerate() {
            let _ = writeln!(list, "{index}\t{text:?}");
        }
        return print(&list);
    };

    let request = AttentionRequest {
        pictures: &pictures,
        prompt: prompt(&args.input),
        answer: &answer.token_ids,
        token,
    };
    let maps = engine.attention(&request).await.map_err(about)?;
    drop(progress);
    let focus = Focus {
        layer: args.layer,
        head: args.head,
    };
    let heat = maps.heat(focus, args.picture);
    let heat = heat.map_err(|error| about(error.into()))?;
    write(out, &heat.over(&pictures[args.picture]))?;
    print(&format!(
        "token {token} {:?}: {:.1} % of the attention of {} layers and {} heads is on picture {}\n",
        texts[token],
        100.0 * heat.share(),
        args.layer.map_or(maps.layers(), |_| 1),
        args.head.map_or(maps.heads(), |_| 1),
        args.picture,
    ))
}

fn write(path: &Path, picture: &DecodedPicture) -> Result<(), Failure> {
    let (width, height) = (picture.width(), picture.height());
    RgbImage::from_raw(width, height, picture.rgb().to_vec())
        .ok_or_else(|| Failure::other("the picture has another size than it says"))?
        .save_with_format(path, ImageFormat::Png)
        .map_err(|error| {
            Failure::mendable(format!(
                "{}: the picture cannot be written ({error}); check the path and the free space",
                path.display()
            ))
        })
}
