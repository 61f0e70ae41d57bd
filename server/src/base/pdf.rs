//! Pages of A4 with text and rules, as PDF. What is drawn is collected first, so that a page can say how many there are; the font is parsed when the first document
//! is made.

use std::sync::OnceLock;

use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point};
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use krilla::{Document, SerializeSettings};
use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider};

/// Width of a page in points.
pub const WIDTH: f32 = 595.276;
/// Height of a page in points.
pub const HEIGHT: f32 = 841.89;

/// How text looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Points.
    pub size: f32,
    /// Bold instead of regular.
    pub bold: bool,
    /// Red, green and blue.
    pub colour: (u8, u8, u8),
}

/// Where text is put relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// It begins there.
    Left,
    /// It ends there.
    Right,
}

enum Mark {
    Text {
        x: f32,
        y: f32,
        style: Style,
        text: String,
    },
    Rule {
        from: (f32, f32),
        to: (f32, f32),
        width: f32,
        colour: (u8, u8, u8),
    },
}

/// Pages being filled.
pub struct Pages {
    pages: Vec<Vec<Mark>>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            pages: vec![Vec::new()],
        }
    }
}

/// What a document says of itself.
pub struct About {
    /// Its title.
    pub title: String,
    /// Who made it.
    pub author: String,
    /// `id` or `en`.
    pub language: String,
}

struct Face {
    font: Font,
    reference: FontRef<'static>,
}

struct Faces {
    regular: Face,
    bold: Face,
}

fn faces() -> &'static Faces {
    static FACES: OnceLock<Faces> = OnceLock::new();
    let face = |bytes: &'static [u8]| Face {
        font: Font::new(bytes.into(), 0).expect("the embedded font is one"),
        reference: FontRef::new(bytes).expect("the embedded font is one"),
    };
    FACES.get_or_init(|| Faces {
        regular: face(notosans::REGULAR_TTF),
        bold: face(notosans::BOLD_TTF),
    })
}

impl Face {
    fn of(style: Style) -> &'static Self {
        let faces = faces();
        if style.bold {
            &faces.bold
        } else {
            &faces.regular
        }
    }

    /// The glyphs of a text, with advances in parts of the font size. What the font lacks is a box.
    fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        let characters = self.reference.charmap();
        let metrics = self
            .reference
            .glyph_metrics(Size::unscaled(), LocationRef::default());
        let units = self.font.units_per_em();
        text.char_indices()
            .map(|(at, character)| {
                let glyph = characters.map(character).unwrap_or_default();
                let advance = metrics.advance_width(glyph).unwrap_or_default() / units;
                let range = at..at + character.len_utf8();
                let id = GlyphId::new(glyph.to_u32());
                KrillaGlyph::new(id, advance, 0.0, 0.0, 0.0, range, None)
            })
            .collect()
    }
}

/// Width of a text in points.
pub fn width(text: &str, style: Style) -> f32 {
    let glyphs = Face::of(style).glyphs(text);
    glyphs.iter().map(|glyph| glyph.x_advance).sum::<f32>() * style.size
}

/// The lines a text needs within a width. A word that is too long alone is broken.
pub fn wrap(text: &str, style: Style, within: f32) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = if line.is_empty() {
                word.to_owned()
            } else {
                format!("{line} {word}")
            };
            if width(&longer, style) <= within {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for character in word.chars() {
                line.push(character);
                if width(&line, style) > within && line.chars().count() > 1 {
                    line.pop();
                    lines.push(std::mem::replace(&mut line, character.to_string()));
                }
            }
        }
        lines.push(line);
    }
    lines
}

impl Pages {
    /// Goes on with a new page.
    pub fn turn(&mut self) {
        self.pages.push(Vec::new());
    }

    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// Writes on the last page. `y` is the base line, from the top; control characters are left out.
    pub fn text(&mut self, at: (f32, f32), align: Align, style: Style, text: &str) {
        let last = self.pages.len() - 1;
        self.text_on(last, at, align, style, text);
    }

    /// Writes on a page counted from 0.
    pub fn text_on(&mut self, page: usize, at: (f32, f32), align: Align, style: Style, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let (x, y) = match align {
            Align::Left => at,
            Align::Right => (at.0 - width(&text, style), at.1),
        };
        if let Some(page) = self.pages.get_mut(page) {
            page.push(Mark::Text { x, y, style, text });
        }
    }

    /// Draws a line on the last page.
    pub fn rule(&mut self, from: (f32, f32), to: (f32, f32), width: f32, colour: (u8, u8, u8)) {
        if let Some(page) = self.pages.last_mut() {
            page.push(Mark::Rule {
                from,
                to,
                width,
                colour,
            });
        }
    }

    /// The document. The same pages make the same bytes.
    ///
    /// # Errors
    /// If the library cannot write them.
    pub fn finish(self, about: About) -> anyhow::Result<Vec<u8>> {
        let mut document = Document::new_with(SerializeSettings::default());
        document.set_metadata(
            Metadata::new()
                .title(about.title)
                .authors(vec![about.author])
                .language(about.language),
        );
        for marks in &self.pages {
            let settings = PageSettings::from_wh(WIDTH, HEIGHT).expect("A4 is a size");
            let mut page = document.start_page_with(settings);
            let mut surface = page.surface();
            for mark in marks {
                draw(&mut surface, mark);
            }
            surface.finish();
            page.finish();
        }
        let written = document.finish();
        written.map_err(|error| anyhow::anyhow!("the PDF cannot be written: {error:?}"))
    }
}

fn draw(surface: &mut Surface<'_>, mark: &Mark) {
    match mark {
        Mark::Text { x, y, style, text } => {
            let face = Face::of(*style);
            surface.set_stroke(None);
            surface.set_fill(Some(Fill {
                paint: paint(style.colour),
                ..Fill::default()
            }));
            let (start, glyphs) = (Point::from_xy(*x, *y), face.glyphs(text));
            surface.draw_glyphs(start, &glyphs, face.font.clone(), text, style.size, false);
        }
        Mark::Rule {
            from,
            to,
            width,
            colour,
        } => {
            let mut path = PathBuilder::new();
            path.move_to(from.0, from.1);
            path.line_to(to.0, to.1);
            surface.set_fill(None);
            surface.set_stroke(Some(Stroke {
                paint: paint(*colour),
                width: *width,
                ..Stroke::default()
            }));
            if let Some(path) = path.finish() {
                surface.draw_path(&path);
            }
        }
    }
}

fn paint((red, green, blue): (u8, u8, u8)) -> krilla::paint::Paint {
    rgb::Color::new(red, green, blue).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style {
        size: 10.0,
        bold: false,
        colour: (0, 0, 0),
    };

    #[test]
    fn lines_are_no_wider_than_they_may_be() {
        let text = "Sewa server virtual Basic 1 untuk toko-budi-yang-namanya-sangat-panjang-sekali";
        let lines = wrap(text, STYLE, 90.0);
        assert!(lines.len() > 3, "{lines:?}");
        assert!(
            lines.iter().all(|line| width(line, STYLE) <= 90.0),
            "{lines:?}"
        );
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert!(wrap("", STYLE, 90.0).is_empty());
    }

    #[test]
    fn the_same_pages_make_the_same_document() {
        let document = || {
            let mut pages = Pages::default();
            pages.text((50.0, 50.0), Align::Left, STYLE, "Rp 1.000 \u{7}é 中");
            pages.turn();
            pages.rule((50.0, 60.0), (90.0, 60.0), 0.5, (0, 0, 0));
            let about = About {
                title: "Title".to_owned(),
                author: "Author".to_owned(),
                language: "id".to_owned(),
            };
            pages.finish(about).expect("a document")
        };
        let bytes = document();
        assert!(bytes.starts_with(b"%PDF-"));
        assert_eq!(bytes, document());
    }
}
