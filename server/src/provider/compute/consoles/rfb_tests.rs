use super::*;

/// Both sides of a connection, one of them ours.
fn pair() -> (tokio::io::DuplexStream, tokio::io::DuplexStream) {
    tokio::io::duplex(4096)
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

#[test]
fn a_password_answers_a_challenge_as_other_programs_have_it() {
    let challenge: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
    // Made with OpenSSL.
    let known = [
        ("kunci123", 0xfcbd_68d3_a3fc_bba0_5169_fd42_a6f1_5812_u128),
        ("abc", 0x9c22_b4f2_088c_3465_a156_2c4b_9d6e_db04),
    ];
    for (password, expected) in known {
        assert_eq!(
            answer(&secret(password), challenge),
            expected.to_be_bytes(),
            "{password}"
        );
    }
    let long = answer(&secret("kunci123 and more"), challenge);
    assert_eq!(
        long,
        answer(&secret("kunci123"), challenge),
        "eight bytes count"
    );
}

#[tokio::test]
async fn a_viewer_and_a_screen_of_ours_understand_each_other() {
    let (mut ours, mut theirs) = pair();
    let (entered, admitted) = tokio::join!(enter(&mut theirs, None), admit(&mut ours));
    assert_eq!((entered, admitted), (Ok(()), Ok(())));
}

/// What comes of a screen that says this, with a password.
async fn entering(words: &[u8]) -> Result<(), Refusal> {
    let (mut ours, mut theirs) = pair();
    theirs.write_all(words).await.unwrap();
    theirs.shutdown().await.unwrap();
    enter(&mut ours, Some(&secret("kunci123"))).await
}

#[tokio::test]
async fn whatever_a_screen_says_something_comes_of_it() {
    let with = |rest: &[u8]| [VERSION.as_slice(), rest].concat();
    let asked = [&[1, PASSWORD][..], &[7; 16]].concat();
    let ended = |word: &[u8]| with(&[&asked[..], word].concat());
    for (words, expected) in [
        (Vec::new(), Err(Refusal::Silent)),
        (b"RFB 003".to_vec(), Err(Refusal::Silent)),
        (b"SSH-2.0-OpenSSH_9.2\n".to_vec(), Err(Refusal::Foreign)),
        (b"RFB 003.003\n".to_vec(), Err(Refusal::Foreign)),
        // None, with a reason why.
        (with(&[0, 0, 0, 0, 1, b'x']), Err(Refusal::NoWayIn)),
        (with(&[2, 18, 19]), Err(Refusal::NoWayIn)),
        (with(&[1, NONE, 0, 0, 0, 0]), Ok(())),
        (ended(&[0, 0, 0, 1]), Err(Refusal::WrongPassword)),
        (ended(&[0, 0]), Err(Refusal::Silent)),
        (ended(&[0; 4]), Ok(())),
    ] {
        assert_eq!(entering(&words).await, expected, "{words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    let (mut ours, _theirs) = pair();
    assert_eq!(admit(&mut ours).await, Err(Refusal::Silent));
    assert_eq!(enter(&mut ours, None).await, Err(Refusal::Silent));
}
