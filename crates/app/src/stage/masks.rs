//! Masks over the picture: each a colour that its PNG lets through where the object is.

use leptos::prelude::*;

use crate::masks::ShownMask;
use crate::palette;
use crate::state::Page;

/// The masks that are switched on, under the boxes. Belongs into the overlay's drawing.
#[component]
pub(crate) fn MaskLayer(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let detections = page.detections();
    let colours = Memo::new(move |_| {
        detections.with(|all| palette::colours(all.iter().map(|it| it.label.as_str())))
    });
    let all = move || page.masks.shown.get();
    let draw = move |mask: ShownMask| {
        let index = mask.index;
        let colour = move || palette::class(colours.with(|all| all.get(index).copied().flatten()));
        let is_visible = move || {
            let label = detections.with(|all| all.get(index).map(|it| it.label.clone()));
            page.masks.is_visible(index, &label.unwrap_or_default())
        };
        let [x0, y0, x1, y1] = mask.area;
        let (width, height) = (x1.saturating_sub(x0), y1.saturating_sub(y0));
        let (x, y) = (x0.to_string(), y0.to_string());
        let (width, height) = (width.to_string(), height.to_string());
        let id = format!("mask-{index}");
        let filter = format!("url(#{id})");
        view! {
            <g
                class=move || format!("mask {}", colour())
                class:away=move || !is_visible()
                class:lit=move || page.lit() == Some(index)
                data-mask=index.to_string()
            >
                <mask
                    id=id
                    maskUnits="userSpaceOnUse"
                    x=x.clone()
                    y=y.clone()
                    width=width.clone()
                    height=height.clone()
                >
                    <image
                        href=mask.url.as_str().to_owned()
                        x=x.clone()
                        y=y.clone()
                        width=width.clone()
                        height=height.clone()
                        preserveAspectRatio="none"
                    />
                </mask>
                <rect x=x y=y width=width height=height mask=filter />
            </g>
        }
    };
    view! {
        <g
            class="masks"
            style=("--mask-opacity", move || format!("{}%", page.masks.opacity.get()))
        >
            <For each=all key=|mask| mask.url.as_str().to_owned() children=draw />
        </g>
    }
}
