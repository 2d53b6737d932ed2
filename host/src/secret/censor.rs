//! Finds secrets in text that is to be shown, and shows their names instead.

use super::Secret;

/// Of a secret with several lines each line is looked for, if it has as many bytes.
const MIN_LINE_BYTES: usize = 8;

/// What must not be shown, in the forms that it takes on its way: as it is, line by line, in percent as in a URL, and
/// escaped as in JSON. What somebody encodes on purpose is not found.
#[derive(Default)]
pub struct Censor {
    /// The longest first: a part of it must not be found before the whole.
    forms: Vec<(String, String)>,
}

impl Censor {
    /// Hides these secrets, each behind its name.
    pub fn of(secrets: &[(String, Secret)]) -> Self {
        let mut forms: Vec<_> = secrets
            .iter()
            .flat_map(|(name, secret)| forms(secret.expose()).into_iter().map(move |form| (form, name)))
            .map(|(form, name)| (form, format!("[secret {name}]")))
            .collect();
        forms.sort_by(|(one, _), (other, _)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup_by(|(one, _), (other, _)| one == other);
        Self { forms }
    }

    /// The text, with names in place of secrets.
    pub fn hide(&self, text: String) -> String {
        self.forms.iter().fold(text, |text, (form, name)| {
            if text.contains(form.as_str()) { text.replace(form.as_str(), name) } else { text }
        })
    }

    /// Bytes at the end of a text that may be the beginning of a secret whose end is still to come.
    pub fn reach(&self) -> usize {
        self.forms.first().map_or(0, |(longest, _)| longest.len() - 1)
    }
}

impl std::fmt::Debug for Censor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Censor").finish_non_exhaustive()
    }
}

fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), in_percent(secret)];
    if let Ok(quoted) = serde_json::to_string(secret) {
        forms.push(quoted[1..quoted.len() - 1].to_owned());
    }
    if secret.contains('\n') {
        let lines = secret.lines().map(str::trim).filter(|line| line.len() >= MIN_LINE_BYTES);
        forms.extend(lines.map(str::to_owned));
    }
    forms
}

/// In percent, whatever is not a letter, a digit or one of `-._~`.
pub fn in_percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::{Censor, Secret};

    fn censor(secrets: &[(&str, &str)]) -> Censor {
        let secret = |(name, text): &(&str, &str)| ((*name).to_owned(), Secret::new(text).unwrap());
        Censor::of(&secrets.iter().map(secret).collect::<Vec<_>>())
    }

    #[test]
    fn a_secret_is_hidden_in_each_of_its_forms() {
        let censor = censor(&[("KEY", "k3y/\"of\"+all")]);
        for form in ["k3y/\"of\"+all", "k3y%2F%22of%22%2Ball", r#"k3y/\"of\"+all"#] {
            assert_eq!(censor.hide(format!("<{form}>{form}")), "<[secret KEY]>[secret KEY]");
        }
        assert_eq!(censor.hide("k3y".to_owned()), "k3y");
        assert!(!format!("{censor:?}").contains("k3y"));
    }

    #[test]
    fn each_line_of_a_secret_is_hidden_and_the_longer_of_two_goes_first() {
        let censor = censor(&[("SHORT", "abcdefgh"), ("LONG", "abcdefghijkl\nsecond line\nx")]);
        assert_eq!(censor.hide("abcdefghijkl second line x".to_owned()), "[secret LONG] [secret LONG] x");
        assert_eq!(censor.hide("abcdefgh".to_owned()), "[secret SHORT]");
    }

    #[test]
    fn nothing_is_found_where_nothing_is_secret() {
        let censor = Censor::default();
        assert_eq!((censor.hide("text".to_owned()).as_str(), censor.reach()), ("text", 0));
    }
}
