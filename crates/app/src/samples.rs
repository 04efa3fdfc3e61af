//! Pictures to begin with: the samples, and scenes that nobody has seen before.

use image::RgbaImage;
use leptos::prelude::*;
use paligemma_browser::protocol::{Problem, ProblemKind};
use paligemma_scenes::{Plan, SIDE, Truth};
use wasm_bindgen::JsValue;

use crate::icon::{Glyph, Icon};
use crate::platform::{canvas, file, page as address};
use crate::session::{PictureFile, Session};
use crate::state::Page;

/// How many sample pictures there are.
const SAMPLES: usize = 12;
/// Their side in pixels.
const SAMPLE_SIDE: u32 = 448;

/// The strip of samples and the button that composes a new one.
#[component]
pub(crate) fn Samples(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    let name = move || {
        page.picture
            .with(|it| it.as_ref().map(|it| it.name.clone()))
    };
    let compose = move |_| {
        // After a scene comes its neighbour, so that a series can be repeated.
        let seed = page.truth().get_untracked().and_then(|truth| truth.seed);
        let next = seed.map_or_else(address::any_seed, |seed| seed.wrapping_add(1));
        show_new_scene(page, session, next);
    };
    view! {
        <section class="card samples" aria-label="Sample pictures">
            <div class="samples-head">
                <h2>"Try one of these"</h2>
                <button
                    id="new-scene"
                    type="button"
                    title="Composes a picture that nobody has seen before"
                    disabled=move || page.composing.get()
                    on:click=compose
                >
                    <Icon glyph=Glyph::Dice />
                    "New scene"
                </button>
            </div>
            <ul class="strip">
                {(0..SAMPLES)
                    .map(|index| {
                        let is_shown = move || name().as_deref() == Some(&sample_name(index));
                        view! {
                            <li>
                                <button
                                    class="thumb"
                                    type="button"
                                    aria-label=format!("Sample picture {}", index + 1)
                                    aria-pressed=move || is_shown().to_string()
                                    on:click=move |_| show_sample(session, index)
                                >
                                    <img
                                        src=sample_url(index, "png")
                                        alt=""
                                        width="64"
                                        height="64"
                                        loading="lazy"
                                        decoding="async"
                                        draggable="false"
                                    />
                                </button>
                            </li>
                        }
                    })
                    .collect_view()}
            </ul>
        </section>
    }
}

/// Puts a sample on the stage.
pub(crate) fn show_sample(session: Session, index: usize) {
    session.show_when_made(async move {
        let sample = async {
            let blob = file::fetch(&sample_url(index, "png")).await?;
            let json = file::text(&file::fetch(&sample_url(index, "json")).await?).await?;
            Ok::<_, JsValue>((blob, json))
        };
        let (blob, json) = sample.await.map_err(|_| Problem {
            kind: ProblemKind::Picture,
            message: format!(
                "{} could not be fetched: check the connection and click it again.",
                sample_name(index)
            ),
        })?;
        Ok(PictureFile {
            blob,
            name: sample_name(index),
            truth: Truth::of_sample(&json, SAMPLE_SIDE, SAMPLE_SIDE),
        })
    });
}

/// Composes the scene of a seed and puts it on the stage.
pub(crate) fn show_new_scene(page: Page, session: Session, seed: u32) {
    page.composing.set(true);
    session.show_when_made(async move {
        let composed = compose(seed).await.map_err(|_| Problem {
            kind: ProblemKind::Picture,
            message: format!(
                "Scene {seed} could not be composed, because its sprites could not be fetched: \
                 check the connection and press New scene again."
            ),
        });
        page.composing.set(false);
        composed
    });
}

async fn compose(seed: u32) -> Result<PictureFile, JsValue> {
    let plan = Plan::new(seed);
    let mut glyphs: Vec<RgbaImage> = Vec::new();
    for name in plan.sprites() {
        let image = file::image(&format!("demo/sprites/{name}")).await?;
        glyphs.push(canvas::pixels(&image)?);
    }
    let scene = plan.paint(&glyphs);
    let blob = canvas::png(&scene.rgba, SIDE as u32, SIDE as u32).await?;
    Ok(PictureFile {
        blob,
        name: format!("Scene {seed}"),
        truth: Some(scene.truth),
    })
}

fn sample_name(index: usize) -> String {
    format!("Sample {}", index + 1)
}

fn sample_url(index: usize, extension: &str) -> String {
    format!("demo/samples/scene{index:02}.{extension}")
}
