//! One piece out of a file.

use std::fs::File;

use super::container::Container;
use super::job::{Input, Run, decimal, has_video, odd_size, words};
use super::{Error, Ffmpeg, Made, Probe, Target};

/// How far beyond the end a cut may ask, in milliseconds: players round lengths.
const END_TOLERANCE_MS: u64 = 50;

/// How exact a cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// Stream copy from the keyframe at or before the start.
    Keyframe,
    /// Re-encode, exact to the frame.
    Exact,
}

/// A cut to be made.
#[derive(Debug)]
pub struct Cut {
    /// The file to cut from.
    pub input: File,
    /// Where it goes.
    pub output: Target,
    /// Start, in milliseconds.
    pub start_ms: u64,
    /// End, in milliseconds, after the start.
    pub end_ms: u64,
    /// How exact.
    pub accuracy: Accuracy,
}

impl Ffmpeg {
    /// Makes a cut; `on_percent` hears 0 to 100, growing. Dropping the future ends the tool; what it
    /// has written of the output stays for the caller to remove.
    pub async fn cut(&self, cut: Cut, on_percent: impl Fn(u8) + Send + Sync + 'static) -> Result<Made, Error> {
        self.tools()?;
        if cut.start_ms >= cut.end_ms {
            return Err(Error::BadInput(format!(
                "the cut starts at {} but ends at {}: the end must be after the start",
                Seconds(cut.start_ms),
                Seconds(cut.end_ms)
            )));
        }
        let _place = self.place().await?;
        let source = self.source(cut.input).await?;
        let (start, end) = checked(cut.start_ms, cut.end_ms, source.probe.duration_ms)?;
        let (args, container) = args(&source.probe, end - start, cut.accuracy);
        let run = Run {
            args,
            input: Input::of(&source, Some(start))?,
            container,
            target: &cut.output,
            length_ms: end - start,
            nothing: "there is nothing to cut in this range",
        };
        let made = self.make(run, on_percent).await?;
        if has_video(&source.probe) && !has_video(&made.probe) {
            return Err(Error::BadInput("there is nothing to cut in this range: no picture begins in it".to_owned()));
        }
        Ok(made)
    }
}

/// The arguments, and what they make.
fn args(probe: &Probe, length_ms: u64, accuracy: Accuracy) -> (Vec<String>, Container) {
    // A capital V leaves cover pictures out.
    let mut args = words(&["-map", "0:V?", "-map", "0:a?", "-t", &decimal(length_ms)]);
    let container = match accuracy {
        Accuracy::Keyframe => {
            args.extend(words(&["-c", "copy", "-avoid_negative_ts", "make_zero"]));
            Container::of_copy(probe)
        }
        Accuracy::Exact => {
            args.extend(words(&["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]));
            args.extend(words(&["-c:a", "aac", "-b:a", "192k"]));
            if odd_size(probe) {
                // Pictures with shared colour samples have even sides.
                args.extend(words(&["-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2"]));
            }
            Container::Mp4
        }
    };
    (args, container)
}

/// The range in milliseconds, clamped to the length; a range that does not fit is the caller's mistake.
fn checked(start_ms: u64, end_ms: u64, duration_ms: Option<u64>) -> Result<(u64, u64), Error> {
    let Some(duration_ms) = duration_ms else { return Ok((start_ms, end_ms)) };
    let refuse = |verb: &str, at: u64| {
        let (at, length) = (Seconds(at), Seconds(duration_ms));
        Err(Error::BadInput(format!("the cut {verb} at {at} but the video lasts {length}")))
    };
    if start_ms >= duration_ms {
        return refuse("starts", start_ms);
    }
    if end_ms > duration_ms.saturating_add(END_TOLERANCE_MS) {
        return refuse("ends", end_ms);
    }
    Ok((start_ms, end_ms.min(duration_ms)))
}

/// Milliseconds as people read them.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, checked};

    #[test]
    fn ranges_are_checked_and_clamped() {
        assert_eq!(checked(0, 10_050, Some(10_000)).unwrap(), (0, 10_000));
        assert_eq!(checked(9_999, 10_000, Some(10_000)).unwrap(), (9_999, 10_000));
        assert_eq!(checked(50_000, 60_000, None).unwrap(), (50_000, 60_000));
        let message = |start, end| match checked(start, end, Some(10_000)) {
            Err(Error::BadInput(message)) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(message(0, 12_000), "the cut ends at 12.000 s but the video lasts 10.000 s");
        assert_eq!(message(0, 10_051), "the cut ends at 10.051 s but the video lasts 10.000 s");
        assert_eq!(message(10_000, 10_050), "the cut starts at 10.000 s but the video lasts 10.000 s");
        assert_eq!(
            message(u64::MAX - 1, u64::MAX),
            "the cut starts at 18446744073709551.614 s but the video lasts 10.000 s"
        );
    }
}
