//! Line icons, 24 × 24, drawn in the colour of the text around them.

use leptos::prelude::*;

/// Which icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyph {
    /// A warning triangle.
    Warning,
    /// A broken picture.
    Picture,
    /// A chip.
    Chip,
    /// A box.
    Box,
    /// A cloud that is cut off.
    Offline,
    /// A padlock.
    Lock,
    /// An arrow into a tray.
    Upload,
    /// Dice.
    Dice,
    /// Two sheets.
    Copy,
    /// A tick.
    Tick,
    /// A cross.
    Close,
    /// A half-filled circle.
    Contrast,
    /// A sun.
    Sun,
    /// A moon.
    Moon,
}

impl Glyph {
    fn path(self) -> &'static str {
        match self {
            Glyph::Warning => {
                "M12 9v4m0 3.5v.01M10.6 4.2 2.9 17.6A1.6 1.6 0 0 0 4.3 20h15.4a1.6 1.6 0 0 0 1.4-2.4L13.4 4.2a1.6 1.6 0 0 0-2.8 0Z"
            }
            Glyph::Picture => {
                "M4 16.5V6a2 2 0 0 1 2-2h12a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2h-6M4 13l4-4 5 5m-9 2 4 4m0-4-4 4"
            }
            Glyph::Chip => "M7 7h10v10H7zM10 3v4m4-4v4m-4 10v4m4-4v4M3 10h4m-4 4h4m10-4h4m-4 4h4",
            Glyph::Box => "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4m-8 4v8",
            Glyph::Offline => {
                "M7 18a4 4 0 0 1-.6-7.95A6 6 0 0 1 9 6.2M12 5a6 6 0 0 1 5.9 5A4 4 0 0 1 20 16.6M4 4l16 16"
            }
            Glyph::Lock => "M6 11h12v9H6zM8.5 11V7.5a3.5 3.5 0 0 1 7 0V11",
            Glyph::Upload => "M12 15V4m0 0L8 8m4-4 4 4M4 15v3a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-3",
            Glyph::Dice => {
                "M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1Zm3.5 4.5v.01m7-.01v.01m-3.5 3.49v.01m-3.5 3.49v.01m7-.01v.01"
            }
            Glyph::Copy => {
                "M9 9h10a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H9a1 1 0 0 1-1-1V10a1 1 0 0 1 1-1ZM16 9V4a1 1 0 0 0-1-1H5a1 1 0 0 0-1 1v10a1 1 0 0 0 1 1h3"
            }
            Glyph::Tick => "m5 12.5 4.5 4.5L19 7.5",
            Glyph::Close => "M6 6l12 12M18 6 6 18",
            Glyph::Contrast => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 0v18m3-16.5v15m3-12.5v10",
            Glyph::Sun => {
                "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-5v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4m0-12.8L17 7M7 17l-1.4 1.4"
            }
            Glyph::Moon => "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z",
        }
    }
}

/// An icon; the words beside it say what it means.
#[component]
pub(crate) fn Icon(
    /// Which one.
    glyph: Glyph,
) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
            <path d=glyph.path() />
        </svg>
    }
}
