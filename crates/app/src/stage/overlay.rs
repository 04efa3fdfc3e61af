//! Boxes over the picture: drawn in its own pixels, so that scaling costs nothing.

use leptos::prelude::*;
use paligemma_browser::protocol::Detection;
use paligemma_scenes::TruthObject;
use wasm_bindgen::JsCast;
use web_sys::{Element, PointerEvent};

use super::masks::MaskLayer;
use crate::palette;
use crate::state::Page;
use crate::wording;

/// Boxes and labels; the box under the pointer is lit, the smallest where several are.
#[component]
pub(crate) fn Overlay(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let size = Memo::new(move |_| {
        page.picture.with(|it| {
            it.as_ref()
                .map_or((1, 1), |it| (it.width.max(1), it.height.max(1)))
        })
    });
    let detections = page.detections();
    let colours = Memo::new(move |_| {
        detections.with(|all| palette::colours(all.iter().map(|it| it.label.as_str())))
    });
    let mark = move |index| Mark {
        page,
        detections,
        colours,
        index,
    };
    let indices = move || 0..detections.with(Vec::len);
    let follow = move |event: PointerEvent| {
        let index = position(&event, size.get_untracked())
            .and_then(|point| detections.with_untracked(|all| smallest_at(all, point)));
        if page.pointed.get_untracked() != index {
            page.pointed.set(index);
        }
    };
    let description = move || match detections.with(Vec::len) {
        0 => "No boxes".to_owned(),
        _ => format!("Boxes: {}", detections.with(|all| wording::inventory(all))),
    };
    view! {
        <div
            class="overlay"
            class:has-lit=move || page.lit().is_some()
            on:pointermove=follow
            on:pointerdown=follow
            on:pointerleave=move |_| page.pointed.set(None)
        >
            <svg
                role="img"
                aria-label=description
                viewBox=move || format!("0 0 {} {}", size.get().0, size.get().1)
                preserveAspectRatio="none"
            >
                <MaskLayer page />
                <For each=indices key=|index| *index let:index>
                    <Outline mark=mark(index) />
                </For>
                <TruthBoxes page />
            </svg>
            <For each=indices key=|index| *index let:index>
                <Chip mark=mark(index) size />
            </For>
        </div>
    }
}

/// What is drawn for one detection. Nodes are kept while an answer grows, so each asks by index.
#[derive(Clone, Copy)]
struct Mark {
    page: Page,
    detections: Memo<Vec<Detection>>,
    colours: Memo<Vec<Option<usize>>>,
    index: usize,
}

impl Mark {
    fn bbox(self) -> [f32; 4] {
        self.detections
            .with(|all| all.get(self.index).map(|it| it.bbox).unwrap_or_default())
    }

    /// The label, or dots while it is being written.
    fn label(self) -> String {
        let label = self
            .detections
            .with(|all| all.get(self.index).map(|it| it.label.clone()));
        label
            .filter(|label| !label.is_empty())
            .unwrap_or_else(|| "…".to_owned())
    }

    fn colour(self) -> String {
        palette::class(
            self.colours
                .with(|all| all.get(self.index).copied().flatten()),
        )
    }

    fn is_lit(self) -> bool {
        self.page.lit() == Some(self.index)
    }
}

/// A box as drawn: a pale line under a coloured one, to be seen on any ground.
#[component]
fn Outline(mark: Mark) -> impl IntoView {
    let bbox = Memo::new(move |_| mark.bbox());
    view! {
        <g class=move || format!("box {}", mark.colour()) class:lit=move || mark.is_lit()>
            {move || rectangles(bbox.get())}
        </g>
    }
}

/// A label at its box's corner, where there is room for it.
#[component]
fn Chip(mark: Mark, size: Memo<(u32, u32)>) -> impl IntoView {
    let left = move || mark.bbox()[0] / size.get().0 as f32;
    let top = move || mark.bbox()[1] / size.get().1 as f32;
    let right = move || 1.0 - mark.bbox()[2] / size.get().0 as f32;
    view! {
        <span
            class=move || format!("chip {}", mark.colour())
            class:lit=move || mark.is_lit()
            class:below={move || top() < 0.06}
            class:from-right={move || left() > 0.7}
            aria-hidden="true"
            style=("--x", move || left().to_string())
            style=("--y", move || top().to_string())
            style=("--right", move || right().to_string())
        >
            {move || mark.label()}
        </span>
    }
}

/// What is really there, dashed.
#[component]
fn TruthBoxes(page: Page) -> impl IntoView {
    let truth = page.truth();
    move || {
        let objects = truth
            .get()
            .filter(|_| page.show_truth.get())
            .map(|truth| truth.objects);
        let draw = |object: TruthObject| view! { <g class="truth">{rectangles(object.bbox)}</g> };
        objects
            .unwrap_or_default()
            .into_iter()
            .map(draw)
            .collect_view()
    }
}

fn rectangles([x0, y0, x1, y1]: [f32; 4]) -> impl IntoView {
    let (width, height) = ((x1 - x0).max(0.0), (y1 - y0).max(0.0));
    view! {
        <rect class="halo" x=x0 y=y0 width=width height=height />
        <rect class="line" x=x0 y=y0 width=width height=height />
    }
}

/// Where the pointer is, in pixels of the picture.
fn position(event: &PointerEvent, size: (u32, u32)) -> Option<(f32, f32)> {
    let overlay: Element = event.current_target()?.dyn_into().ok()?;
    let area = overlay.get_bounding_client_rect();
    let x = (f64::from(event.client_x()) - area.left()) / area.width();
    let y = (f64::from(event.client_y()) - area.top()) / area.height();
    Some((x as f32 * size.0 as f32, y as f32 * size.1 as f32))
}

/// The smallest box around a point.
fn smallest_at(detections: &[Detection], (x, y): (f32, f32)) -> Option<usize> {
    let area = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0) * (y1 - y0);
    detections
        .iter()
        .enumerate()
        .filter(|(_, it)| {
            let [x0, y0, x1, y1] = it.bbox;
            (x0..=x1).contains(&x) && (y0..=y1).contains(&y)
        })
        .min_by(|(_, a), (_, b)| area(a.bbox).total_cmp(&area(b.bbox)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_box_wins() {
        let boxes = [
            [0.0, 0.0, 100.0, 100.0],
            [40.0, 40.0, 60.0, 60.0],
            [200.0, 0.0, 210.0, 10.0],
        ];
        let all = boxes.map(|bbox| Detection {
            label: String::new(),
            bbox,
            score: None,
        });
        assert_eq!(smallest_at(&all, (50.0, 50.0)), Some(1));
        assert_eq!(smallest_at(&all, (10.0, 50.0)), Some(0));
        assert_eq!(smallest_at(&all, (205.0, 5.0)), Some(2));
        assert_eq!(smallest_at(&all, (150.0, 5.0)), None);
    }
}
