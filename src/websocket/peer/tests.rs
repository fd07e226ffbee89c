//! A client's input, cut at every byte.

use super::*;

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The events of `pieces`, the frames sent back, and whether state was kept.
fn receive(pieces: &[&[u8]]) -> (Vec<Result<Event, Error>>, Vec<u8>, bool) {
    let (mut peer, mut events, mut sent) = (Peer::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut reading = peer.handle_input(piece, 1000);
        while let Some(event) = reading.poll_event() {
            let over = !matches!(event, Ok(Event::Text(_) | Event::Binary(_) | Event::Pong(_)));
            events.push(event);
            if over {
                sent.extend(reading.poll_transmit().unwrap_or_default());
                return (events, sent, false);
            }
        }
        sent.extend(reading.poll_transmit().unwrap_or_default());
        reading.finish(&mut peer);
    }
    (events, sent, peer.is_partial())
}

fn text(text: &str) -> Result<Event, Error> {
    Ok(Event::Text(text.to_owned().into()))
}

#[test]
fn a_cut_changes_nothing() {
    let long = "ä".repeat(150);
    let input = [
        frame(0x81, b"one"),
        frame(0x89, b"ping"),
        frame(0x82, &[0, 255]),
        frame(0x01, b"fr"),
        frame(0x80, b"").split_at(0).0.to_vec(),
        frame(0x00, b"ag"),
        frame(0x8a, b"pong"),
        frame(0x80, b"ment"),
        frame(0x81, long.as_bytes()),
        frame(0x81, b""),
    ]
    .concat();
    let (bytes, answer) = (Event::Binary(vec![0, 255].into()), Event::Pong(b"pong".to_vec().into()));
    let expected = vec![text("one"), Ok(bytes), Ok(answer), text("fragment"), text(&long), text("")];
    let pong = [&[0x8a, 4][..], b"ping"].concat();
    assert_eq!(receive(&[&input]), (expected.clone(), pong.clone(), false));
    for cut in 0..=input.len() {
        let (one, other) = input.split_at(cut);
        assert_eq!(receive(&[one, other]), (expected.clone(), pong.clone(), false), "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(receive(&bytes), (expected, pong, false));
}

#[test]
fn no_state_is_kept_between_messages() {
    let whole = frame(0x81, b"hello");
    for cut in 0..=whole.len() {
        assert_eq!(receive(&[&whole[..cut]]).2, cut != 0 && cut != whole.len(), "{cut}");
    }
    assert!(receive(&[&frame(0x01, b"open")]).2);
    assert!(!receive(&[&frame(0x89, b"")]).2);
}

/// What counts is what has arrived, and not what a header announces.
#[test]
fn an_incomplete_message_is_counted() {
    let before = crate::memory::unfinished();
    let mut peer = Peer::default();
    let feed = |peer: &mut Peer, bytes: &[u8]| {
        let mut reading = peer.handle_input(bytes, 1000);
        while reading.poll_event().is_some() {}
        reading.finish(peer);
        let counted = crate::memory::unfinished() - before;
        assert_eq!(counted, peer.memory());
        counted.saturating_sub(size_of::<Partial>())
    };
    let whole = frame(0x81, &[b'x'; 700]);
    assert_eq!(feed(&mut peer, &whole[..20]), 20);
    assert!((520..1100).contains(&feed(&mut peer, &whole[20..520])));
    assert_eq!(feed(&mut peer, &whole[520..]), 0);
    assert_eq!(feed(&mut peer, &frame(0x01, &[b'x'; 300])), MAX_BUFFER + 300);
    assert_eq!(feed(&mut peer, &frame(0x00, &[b'x'; 200])), MAX_BUFFER + 500);
    assert_eq!(feed(&mut peer, &frame(0x80, b"")), 0);
    feed(&mut peer, &whole[..20]);
    drop(peer);
    assert_eq!(crate::memory::unfinished(), before);
}

#[test]
fn a_close_is_answered() {
    let close = [&[0x03, 0xe8][..], b"bye"].concat();
    let (events, sent, _) = receive(&[&frame(0x88, &close), &frame(0x81, b"late")]);
    assert_eq!(events, [Ok(Event::Closed(Some(1000)))]);
    assert_eq!(sent, [&[0x88, 5][..], &close].concat());
    assert_eq!(receive(&[&frame(0x88, b"")]).1, [0x88, 0]);
}

/// A pong goes before what the messages after its ping cause, whatever the cut.
#[test]
fn answers_have_the_order_of_the_input() {
    let input = [
        frame(0x89, b"1"),
        frame(0x89, b"2"),
        frame(0x81, b"one"),
        frame(0x01, b"t"),
        frame(0x89, b"3"),
        frame(0x80, b"wo"),
        frame(0x89, b"4"),
        frame(0x88, &[3, 232]),
    ]
    .concat();
    let expected = "pong 1, pong 2, one, pong 3, two, pong 4, close";
    for cut in 0..=input.len() {
        let (mut peer, mut order) = (Peer::default(), Vec::new());
        let (one, other) = input.split_at(cut);
        for piece in [one, other] {
            let mut reading = peer.handle_input(piece, 1000);
            loop {
                let event = reading.poll_event();
                let sent = reading.poll_transmit().unwrap_or_default();
                let mut rest = &sent[..];
                while let [first, length, ..] = rest {
                    let (frame, behind) = rest.split_at(2 + *length as usize);
                    order.push(match first {
                        0x8a => format!("pong {}", char::from(frame[2])),
                        _ => "close".to_owned(),
                    });
                    rest = behind;
                }
                match event {
                    Some(Ok(Event::Text(text))) => order.push(text.to_string()),
                    Some(Ok(Event::Closed(_))) => {}
                    None => break,
                    other => panic!("{other:?}"),
                }
            }
            reading.finish(&mut peer);
        }
        assert_eq!(order.join(", "), expected, "cut at {cut}");
    }
}

#[test]
fn errors_have_a_status_code() {
    let code = |bytes: &[u8]| receive(&[bytes]).0.pop().unwrap().unwrap_err().close().code;
    assert_eq!(code(&[0x81, 0x01, b'x']), 1002, "not masked");
    assert_eq!(code(&frame(0xc1, b"x")), 1002, "reserved bit");
    assert_eq!(code(&frame(0x83, b"x")), 1002, "reserved opcode");
    assert_eq!(code(&frame(0x80, b"x")), 1002, "nothing to continue");
    assert_eq!(code(&[frame(0x01, b"x"), frame(0x81, b"y")].concat()), 1002, "not continued");
    assert_eq!(code(&frame(0x09, b"x")), 1002, "fragmented control");
    assert_eq!(code(&frame(0x89, &[b'x'; 126])), 1002, "long control");
    assert_eq!(code(&frame(0x88, b"x")), 1002, "half a code");
    assert_eq!(code(&frame(0x81, &[0xff])), 1007, "not UTF-8");
    assert_eq!(code(&frame(0x81, &[b'x'; 1001])), 1009, "too big");
    assert_eq!(code(&frame(0x81, &[b'x'; 1001])[..8]), 1009, "too big according to its header");
    let fragments = [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])].concat();
    assert_eq!(code(&fragments), 1009, "too big together");
}
