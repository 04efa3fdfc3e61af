//! The map over a picture: one pixel a patch, which the browser spreads smoothly.

use leptos::html::Canvas;
use leptos::prelude::*;

use super::Looked;
use crate::platform::canvas;

/// From no attention to the most: dark blue, violet, red, orange, pale yellow.
const COLOURS: [[f32; 3]; 5] = [
    [20.0, 11.0, 70.0],
    [120.0, 28.0, 109.0],
    [203.0, 65.0, 64.0],
    [249.0, 142.0, 9.0],
    [252.0, 245.0, 160.0],
];

/// The heat on one of the pictures, in the order in which they were asked about.
#[component]
pub(crate) fn Heat(
    /// What is shown of the attention.
    looked: Looked,
    /// Which picture; it moves when one before it is taken away.
    #[prop(into)]
    picture: Signal<usize>,
) -> impl IntoView {
    let node = NodeRef::<Canvas>::new();
    let map = Memo::new(move |_| {
        looked.map.with(|map| {
            let map = map.as_ref().filter(|_| looked.open.get())?;
            let heat = &map.pictures.get(picture.get())?.heat;
            (heat.len() == (map.side * map.side) as usize).then(|| (map.side, heat.clone()))
        })
    });
    Effect::new(move |_| {
        if let (Some(node), Some((side, heat))) = (node.get(), map.get()) {
            // Without a canvas there is no map; the panel still has the numbers.
            let _ = canvas::paint(&node, &pixels(&heat), side, side);
        }
    });
    view! {
        <canvas
            class="heat"
            class:away=move || map.with(Option::is_none)
            node_ref=node
            role="img"
            aria-label="Where the model looked"
        ></canvas>
    }
}

/// RGBA of each value: the more of it, the brighter and the less transparent.
fn pixels(heat: &[f32]) -> Vec<u8> {
    heat.iter()
        .flat_map(|value| {
            let value = value.clamp(0.0, 1.0);
            let at = value * (COLOURS.len() - 1) as f32;
            let low = (at as usize).min(COLOURS.len() - 2);
            let part = at - low as f32;
            let level = |i: usize| COLOURS[low][i] * (1.0 - part) + COLOURS[low + 1][i] * part;
            [
                level(0).round() as u8,
                level(1).round() as u8,
                level(2).round() as u8,
                (255.0 * (0.35 + 0.45 * value)).round() as u8,
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_attention_is_brighter() {
        let rgba = pixels(&[0.0, 0.5, 1.0, 7.0, f32::NAN]);
        assert_eq!(rgba.len(), 20);
        assert_eq!(rgba[..3], [20, 11, 70]);
        assert_eq!(rgba[4..7], [203, 65, 64]);
        assert_eq!(rgba[8..11], [252, 245, 160]);
        assert_eq!(rgba[8..12], rgba[12..16]);
        assert!(rgba[3] < rgba[7] && rgba[7] < rgba[11]);
    }
}
