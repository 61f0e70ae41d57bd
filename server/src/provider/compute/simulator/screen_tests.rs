use super::*;

fn picture(typed: &str) -> Picture<'static> {
    Picture {
        name: "web-1",
        state: "RUNNING",
        typed: typed.to_owned(),
    }
}

#[test]
fn a_screen_shows_what_is_typed_and_only_the_last_of_it() {
    let mut shown = picture("");
    for key in "ls /x"
        .chars()
        .map(u32::from)
        .chain([0xff08, 0xff0d, 0xffe1])
    {
        shown.press(key);
    }
    assert_eq!(shown.typed, "ls /\n");
    assert_ne!(shown.draw(), picture("").draw());
    for _ in 0..3 * KEPT {
        shown.press(0xff0d);
    }
    assert_eq!(shown.typed.len(), KEPT);
    assert_eq!(shown.lines().len(), TEXT.1);
    assert_eq!(shown.draw().len(), WIDTH * HEIGHT);
}

#[test]
fn pixels_are_as_the_viewer_wants_them() {
    let ours = Format::read(PIXELS).unwrap();
    assert_eq!(ours.pixel([1, 2, 3]), [3, 2, 1, 0]);
    let mut other = PIXELS;
    (other[2], other[10], other[12]) = (1, 0, 16);
    assert_eq!(Format::read(other).unwrap().pixel([1, 2, 3]), [0, 3, 2, 1]);
    for (place, wrong) in [(0, 8), (3, 0), (10, 25)] {
        let mut format = PIXELS;
        format[place] = wrong;
        assert!(Format::read(format).is_err(), "{place}");
    }
}

/// Shows a screen to a viewer that says this after it was let in, and returns what the viewer sees after the greeting.
async fn seen(words: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let (_tell, told) = watch::channel("RUNNING");
    let showing = tokio::spawn(show(theirs, "web-1", told));
    rfb::enter(&mut ours, None).await.unwrap();
    ours.write_all(&[1]).await.unwrap();
    ours.write_all(words).await.unwrap();
    ours.shutdown().await.unwrap();
    let mut all = Vec::new();
    ours.read_to_end(&mut all).await.unwrap();
    assert!(showing.await.unwrap().is_err(), "the viewer left");
    all.split_off(24 + "web-1".len())
}

#[tokio::test]
async fn whatever_a_viewer_says_the_screen_goes_on_or_ends() {
    let ask = [3, 0, 0, 0, 0, 0, 1, 128, 0, 96];
    let whole = 4 + 12 + WIDTH * HEIGHT * 4;
    assert_eq!(seen(&ask).await.len(), whole);
    let again = [3, 1, 0, 0, 0, 0, 1, 128, 0, 96];
    assert_eq!(
        seen(&[ask, again].concat()).await.len(),
        whole,
        "nothing has changed"
    );
    let key = [4, 1, 0, 0, 0, 0, 0, b'x'];
    let typed = [&ask[..], &again, &key].concat();
    assert_eq!(seen(&typed).await.len(), 2 * whole);
    let busy = [
        &[2, 0, 0, 1, 0, 0, 0, 0][..],
        &[5, 0, 0, 1, 0, 1],
        &[6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'],
        &ask,
    ];
    assert_eq!(seen(&busy.concat()).await.len(), whole);
    for garbage in [&[99][..], &[6, 0, 0, 0, 127, 0, 0, 0], &[0; 20], &[4, 1]] {
        assert_eq!(seen(garbage).await, b"", "{garbage:?}");
    }
}
