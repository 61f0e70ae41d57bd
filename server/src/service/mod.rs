//! The slices, in rank order: a slice may call only those named before it. News travels the other way by events.
