//! Values as keys hold them: numbers, strings and lists of strings, each of which may be absent.

use std::str::FromStr;

/// A number that may be absent.
pub trait Number {
    /// The value, if there is one.
    fn get(&self) -> Option<u64>;
    /// Takes a value, which is within the key's range.
    fn set(&mut self, value: u64);
}

impl Number for u64 {
    fn get(&self) -> Option<u64> {
        Some(*self)
    }

    fn set(&mut self, value: u64) {
        *self = value;
    }
}

impl Number for u32 {
    fn get(&self) -> Option<u64> {
        Some(u64::from(*self))
    }

    fn set(&mut self, value: u64) {
        *self = Self::try_from(value).unwrap_or(Self::MAX);
    }
}

impl<N: Number + Default> Number for Option<N> {
    fn get(&self) -> Option<u64> {
        self.as_ref().and_then(Number::get)
    }

    fn set(&mut self, value: u64) {
        self.get_or_insert_default().set(value);
    }
}

/// A string that may be absent.
pub trait Text {
    /// The value, if there is one.
    fn get(&self) -> Option<String>;
    /// Takes a value, which fits the key's words.
    fn set(&mut self, value: &str);
}

impl Text for String {
    fn get(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.clone())
    }

    fn set(&mut self, value: &str) {
        value.clone_into(self);
    }
}

impl Text for Option<String> {
    fn get(&self) -> Option<String> {
        self.clone()
    }

    fn set(&mut self, value: &str) {
        *self = Some(value.to_owned());
    }
}

/// Strings, one after the other.
pub trait Texts {
    /// All of them.
    fn get(&self) -> Vec<String>;
    /// Forgets them.
    fn clear(&mut self);
    /// Takes one more, which fits the key's words.
    fn push(&mut self, value: &str);
    /// Nothing is said, which is not the same as an empty list.
    fn is_absent(&self) -> bool {
        false
    }
}

impl<T: FromStr + ToString> Texts for Vec<T> {
    fn get(&self) -> Vec<String> {
        self.iter().map(T::to_string).collect()
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn push(&mut self, value: &str) {
        self.extend(value.parse::<T>());
    }
}

impl<T> Texts for Option<Vec<T>>
where
    Vec<T>: Texts,
{
    fn get(&self) -> Vec<String> {
        self.as_ref().map(Texts::get).unwrap_or_default()
    }

    fn clear(&mut self) {
        *self = Some(Vec::new());
    }

    fn push(&mut self, value: &str) {
        Texts::push(self.get_or_insert_default(), value);
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}
