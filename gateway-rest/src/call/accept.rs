//! Which of the two stream formats a client wants.

use http::HeaderMap;
use http::header::ACCEPT;

/// The format of a streamed response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// One JSON message a line.
    Ndjson,
    /// Server-sent events.
    Sse,
}

/// SSE if the client names `text/event-stream` and does not like JSON lines better; JSON lines otherwise.
pub(crate) fn stream_format(headers: &HeaderMap) -> StreamFormat {
    let mut sse = 0;
    let mut lines = 0;
    let values = headers.get_all(ACCEPT).iter();
    for range in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let weight = parts.find_map(quality).unwrap_or(1000);
        match essence {
            "text/event-stream" => sse = sse.max(weight),
            "application/x-ndjson" | "application/json" => lines = lines.max(weight),
            _ => {}
        }
    }
    if sse > 0 && sse >= lines {
        StreamFormat::Sse
    } else {
        StreamFormat::Ndjson
    }
}

/// `q=0.5` in thousandths.
fn quality(parameter: &str) -> Option<u16> {
    let value = parameter
        .strip_prefix("q=")
        .or_else(|| parameter.strip_prefix("Q="))?;
    let value: f32 = value.trim().parse().ok()?;
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::{StreamFormat, stream_format};

    #[test]
    fn the_better_liked_format_wins() {
        for (accept, format) in [
            ("", StreamFormat::Ndjson),
            ("*/*", StreamFormat::Ndjson),
            ("text/event-stream", StreamFormat::Sse),
            ("text/event-stream;q=0", StreamFormat::Ndjson),
            (
                "application/x-ndjson, text/event-stream;q=0.5",
                StreamFormat::Ndjson,
            ),
            (
                "application/json;q=0.3, text/event-stream; q=0.5",
                StreamFormat::Sse,
            ),
            ("text/event-stream, */*;q=0.1", StreamFormat::Sse),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert("accept", accept.parse().unwrap());
            assert_eq!(stream_format(&headers), format, "{accept}");
        }
    }
}
