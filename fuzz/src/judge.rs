//! A judge of JSON that shares no code with the engine or its libraries: the grammar of RFC 8259,
//! and the engine's rules on top of it (no two equal keys in an object, no lone surrogate, at most
//! 128 levels).
//!
//! Numbers are kept as they are written, so that two trees are equal only if no digit differs.

use serde_json::{Map, Value};

const LEVELS_MAX: usize = 128;

/// What a text says. Of an object the members, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json<'a> {
    /// `null`, `true` or `false`.
    Word(&'a str),
    Number(&'a str),
    Text(String),
    Array(Vec<Json<'a>>),
    Object(Vec<(String, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// The object that a text is, if it is an acceptable one.
    pub(crate) fn object(text: &'a str) -> Option<Json<'a>> {
        let mut judge = Judge { text, at: 0, levels: 0 };
        judge.space();
        let value = judge.value()?;
        judge.space();
        (judge.at == text.len() && matches!(value, Json::Object(_))).then_some(value)
    }

    /// The value under a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Json<'a>> {
        let Json::Object(members) = self else { return None };
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A value that is equal to another's exactly where the two say the same to the last digit:
    /// numbers become strings, told from strings by their first character.
    pub(crate) fn exact(&self) -> Value {
        match self {
            Json::Word("null") => Value::Null,
            Json::Word(word) => Value::Bool(*word == "true"),
            Json::Number(digits) => Value::String(format!("#{digits}")),
            Json::Text(text) => Value::String(format!("'{text}")),
            Json::Array(items) => items.iter().map(Json::exact).collect(),
            Json::Object(members) => {
                let exact = members.iter().map(|(key, value)| (key.clone(), value.exact()));
                Value::Object(exact.collect::<Map<_, _>>())
            }
        }
    }
}

struct Judge<'a> {
    text: &'a str,
    at: usize,
    levels: usize,
}

impl<'a> Judge<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Json<'a>> {
        match self.peek()? {
            b'{' => self.inside(Self::members),
            b'[' => self.inside(Self::items),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number().map(Json::Number),
            _ => {
                let rest = &self.text[self.at..];
                let word = ["null", "true", "false"].into_iter().find(|w| rest.starts_with(w))?;
                self.at += word.len();
                Some(Json::Word(word))
            }
        }
    }

    fn inside(&mut self, of: fn(&mut Self) -> Option<Json<'a>>) -> Option<Json<'a>> {
        self.at += 1;
        self.levels += 1;
        let value = (self.levels <= LEVELS_MAX).then(|| of(self)).flatten()?;
        self.levels -= 1;
        Some(value)
    }

    fn items(&mut self) -> Option<Json<'a>> {
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Some(Json::Array(items));
        }
        loop {
            self.space();
            items.push(self.value()?);
            self.space();
            if self.take(b']') {
                return Some(Json::Array(items));
            }
            self.take(b',').then_some(())?;
        }
    }

    fn members(&mut self) -> Option<Json<'a>> {
        let mut members: Vec<(String, Json<'a>)> = Vec::new();
        self.space();
        if self.take(b'}') {
            return Some(Json::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(b':').then_some(())?;
            self.space();
            if members.iter().any(|(other, _)| *other == key) {
                return None;
            }
            let value = self.value()?;
            members.push((key, value));
            self.space();
            if self.take(b'}') {
                return Some(Json::Object(members));
            }
            self.take(b',').then_some(())?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"').then_some(())?;
        let mut said = String::new();
        loop {
            let next = self.text[self.at..].chars().next()?;
            self.at += next.len_utf8();
            match next {
                '"' => return Some(said),
                '\\' => said.push(self.escape()?),
                '\0'..='\u{1f}' => return None,
                plain => said.push(plain),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let kind = self.peek()?;
        self.at += 1;
        Some(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                (self.take(b'\\') && self.take(b'u')).then_some(())?;
                let second = self.unit().filter(|unit| (0xdc00..0xe000).contains(unit))?;
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    fn number(&mut self) -> Option<&'a str> {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Some(&self.text[from..self.at])
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }
}
