//! A screen that speaks RFB 3.8 (RFC 6143): the name and the state of a machine, and what is typed. It has one size and one encoding, and draws everything anew with each change:
//! it is there to be looked at and typed into, not to be fast.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::provider::compute::consoles::rfb;

/// Pixels of a dot of a letter, each way.
const DOT: usize = 2;
/// Dots of a letter with the gap behind it, and below it.
const LETTER: (usize, usize) = (4, 6);
/// Letters in a line, and lines.
const TEXT: (usize, usize) = (48, 8);
/// Pixels in a row.
const WIDTH: usize = TEXT.0 * LETTER.0 * DOT;
/// Rows.
const HEIGHT: usize = TEXT.1 * LETTER.1 * DOT;
/// Letters that are kept of what was typed.
const KEPT: usize = 200;
/// Bytes of a text that is pasted at most. It is not looked at.
const PASTED: u32 = 64 << 10;
/// What pixels are like unless the viewer wants them otherwise: 32 bits, red, green and blue at these places.
const PIXELS: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
/// Red, green and blue of what is written, and of what is behind it.
const COLOURS: [[u8; 3]; 2] = [[16, 20, 40], [120, 230, 120]];

/// Where in a pixel its colours are.
#[derive(Clone, Copy)]
struct Format {
    shifts: [u8; 3],
    big_endian: bool,
}

impl Format {
    /// Only true colours of 32 bits are drawn.
    fn read(format: [u8; 16]) -> io::Result<Self> {
        let [
            bits,
            _,
            big_endian,
            true_colour,
            _,
            _,
            _,
            _,
            _,
            _,
            red,
            green,
            blue,
            ..,
        ] = format;
        let shifts = [red, green, blue];
        if bits != 32 || true_colour == 0 || shifts.iter().any(|shift| *shift > 24) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            shifts,
            big_endian: big_endian != 0,
        })
    }

    fn pixel(self, colour: [u8; 3]) -> [u8; 4] {
        let parts = colour.into_iter().zip(self.shifts);
        let pixel = parts.fold(0_u32, |pixel, (part, shift)| {
            pixel | u32::from(part) << shift
        });
        if self.big_endian {
            pixel.to_be_bytes()
        } else {
            pixel.to_le_bytes()
        }
    }
}

/// What is on the screen.
struct Picture<'n> {
    name: &'n str,
    state: &'static str,
    typed: String,
}

impl Picture<'_> {
    fn press(&mut self, key: u32) {
        match key {
            // Backspace and return, as X11 counts keys.
            0xff08 => drop(self.typed.pop()),
            0xff0d => self.typed.push('\n'),
            0x20..0x7f => self.typed.extend(char::from_u32(key)),
            _ => {}
        }
        if self.typed.len() > KEPT {
            self.typed.remove(0);
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            "SEWA SIMULATOR".to_owned(),
            self.name.to_owned(),
            self.state.to_owned(),
            String::new(),
        ];
        let typed: Vec<String> = self.typed.split('\n').map(|l| format!("> {l}_")).collect();
        let room = TEXT.1.saturating_sub(lines.len());
        let unseen = typed.len().saturating_sub(room);
        lines.extend(typed.into_iter().skip(unseen));
        lines
    }

    /// Whether each pixel is written on.
    fn draw(&self) -> Vec<bool> {
        let lines: Vec<Vec<u16>> = self
            .lines()
            .iter()
            .map(|line| line.chars().map(glyph).collect())
            .collect();
        let pixels = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x / DOT, y / DOT)));
        let is_written = |(x, y): (usize, usize)| {
            let letter = lines.get(y / LETTER.1)?.get(x / LETTER.0)?;
            let (column, row) = (x % LETTER.0, y % LETTER.1);
            let bit = (column < 3 && row < 5).then(|| 14 - (row * 3 + column))?;
            Some(letter >> bit & 1 == 1)
        };
        pixels
            .map(|at| is_written(at).unwrap_or_default())
            .collect()
    }

    /// The whole screen as one rectangle that is not compressed.
    fn update(&self, format: Format) -> Vec<u8> {
        let colours = COLOURS.map(|colour| format.pixel(colour));
        let mut update = vec![0, 0, 0, 1, 0, 0, 0, 0];
        update.extend(size());
        update.extend([0; 4]);
        for written in self.draw() {
            update.extend(colours[usize::from(written)]);
        }
        update
    }
}

fn size() -> impl Iterator<Item = u8> {
    [WIDTH, HEIGHT]
        .into_iter()
        .flat_map(|n| u16::try_from(n).unwrap_or_default().to_be_bytes())
}

/// Three dots by five, in five octal digits from the top.
fn glyph(letter: char) -> u16 {
    const LETTERS: [u16; 26] = [
        0o25755, 0o65656, 0o34443, 0o65556, 0o74647, 0o74644, 0o34553, 0o55755, 0o72227, 0o11152,
        0o55655, 0o44447, 0o57755, 0o65555, 0o25552, 0o65644, 0o25573, 0o65655, 0o34216, 0o72222,
        0o55557, 0o55552, 0o55775, 0o55255, 0o55222, 0o71247,
    ];
    const DIGITS: [u16; 10] = [
        0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71122, 0o75757, 0o75717,
    ];
    let at = |table: &[u16], first: char| {
        let place = usize::try_from(u32::from(letter.to_ascii_uppercase()) - u32::from(first));
        place.ok().and_then(|place| table.get(place).copied())
    };
    match letter {
        'a'..='z' | 'A'..='Z' => at(&LETTERS, 'A').unwrap_or_default(),
        '0'..='9' => at(&DIGITS, '0').unwrap_or_default(),
        ' ' => 0,
        '-' => 0o00700,
        '.' => 0o00002,
        ':' => 0o02020,
        '/' => 0o11244,
        '_' => 0o00007,
        '>' => 0o42124,
        _ => 0o71202,
    }
}

/// Shows a machine to a viewer until the viewer leaves, or nobody says any more how the machine is.
///
/// # Errors
/// If the viewer left, or says what cannot be understood.
pub async fn show<S>(
    mut viewer: S,
    name: &str,
    mut state: watch::Receiver<&'static str>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    rfb::admit(&mut viewer).await.map_err(io::Error::other)?;
    viewer.read_u8().await?;
    let mut hello: Vec<u8> = size().collect();
    hello.extend(PIXELS);
    hello.extend(u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
    hello.extend(name.as_bytes());
    viewer.write_all(&hello).await?;
    let mut format = Format::read(PIXELS)?;
    let mut picture = Picture {
        name,
        state: *state.borrow_and_update(),
        typed: String::new(),
    };
    // Whether the viewer waits for a change, and whether there is one it has not seen.
    let (mut waiting, mut changed) = (false, true);
    loop {
        let kind = tokio::select! {
            kind = viewer.read_u8() => Some(kind?),
            news = state.changed() => {
                news.map_err(io::Error::other)?;
                None
            }
        };
        match kind {
            None => {
                picture.state = *state.borrow_and_update();
                changed = true;
            }
            // How pixels are to be.
            Some(0) => {
                let _: [u8; 3] = read(&mut viewer).await?;
                format = Format::read(read(&mut viewer).await?)?;
                changed = true;
            }
            // Encodings, of which only the plainest is used; everybody knows it.
            Some(2) => {
                let [_, high, low] = read(&mut viewer).await?;
                skip(&mut viewer, u32::from(u16::from_be_bytes([high, low])) * 4).await?;
            }
            Some(3) => {
                let [incremental, ..]: [u8; 9] = read(&mut viewer).await?;
                waiting = true;
                changed |= incremental == 0;
            }
            Some(4) => {
                let [down, _, _, key @ ..]: [u8; 7] = read(&mut viewer).await?;
                if down != 0 {
                    picture.press(u32::from_be_bytes(key));
                    changed = true;
                }
            }
            // The pointer.
            Some(5) => {
                let _: [u8; 5] = read(&mut viewer).await?;
            }
            // Something pasted. A length below zero is that of a form we said nothing of.
            Some(6) => {
                let [_, _, _, length @ ..]: [u8; 7] = read(&mut viewer).await?;
                let length = i32::from_be_bytes(length).unsigned_abs();
                if length > PASTED {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                skip(&mut viewer, length).await?;
            }
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
        if waiting && changed {
            viewer.write_all(&picture.update(format)).await?;
            (waiting, changed) = (false, false);
        }
    }
}

async fn read<const N: usize>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn skip(from: &mut (impl AsyncRead + Unpin), count: u32) -> io::Result<()> {
    let mut rest = from.take(u64::from(count));
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
