//! Path parameters as a serde data format: texts that are parsed when a number or a bool is wanted.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::rejection::InvalidPath;

/// Names and texts, in the order of the route.
pub(super) struct Params<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Params<'a> {
    pub(super) fn new(params: Vec<(&'a str, &'a str)>) -> Self {
        Self(params)
    }

    /// The one parameter, where one is wanted.
    fn single(&self) -> Result<Text<'a>, InvalidPath> {
        match self.0[..] {
            [(_, text)] => Ok(Text(text)),
            _ => Err(self.wrong_count("1 parameter is")),
        }
    }

    fn wrong_count(&self, wanted: impl fmt::Display) -> InvalidPath {
        InvalidPath(format!("{wanted} wanted and the path has {}", self.0.len()))
    }
}

/// Methods that want the one parameter.
macro_rules! from_single {
    ($($method:ident($($arg:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, InvalidPath> {
            self.single()?.$method($($arg,)* visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Params<'de> {
    type Error = InvalidPath;

    from_single! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_identifier()
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter().map(|(_, text)| Text(text))))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, InvalidPath> {
        if self.0.len() != len {
            return Err(self.wrong_count(format_args!("{len} parameters are")));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, InvalidPath> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_map(MapDeserializer::new(self.0.into_iter().map(|(name, text)| (name, Text(text)))))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InvalidPath> {
        self.deserialize_map(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_unit()
    }
}

/// The text of one parameter.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

/// Methods that want what the text says.
macro_rules! parsed {
    ($($method:ident => $visit:ident, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
            let value = self.0.parse().map_err(|_| InvalidPath(format!("{:?} is not {}", self.0, $what)))?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = InvalidPath;

    parsed! {
        deserialize_bool => visit_bool, "true or false";
        deserialize_i8 => visit_i8, "a whole number from -128 to 127";
        deserialize_i16 => visit_i16, "a whole number of 16 bits";
        deserialize_i32 => visit_i32, "a whole number of 32 bits";
        deserialize_i64 => visit_i64, "a whole number of 64 bits";
        deserialize_i128 => visit_i128, "a whole number of 128 bits";
        deserialize_u8 => visit_u8, "a whole number from 0 to 255";
        deserialize_u16 => visit_u16, "a whole number from 0 to 65535";
        deserialize_u32 => visit_u32, "a whole number from 0 on, of 32 bits";
        deserialize_u64 => visit_u64, "a whole number from 0 on, of 64 bits";
        deserialize_u128 => visit_u128, "a whole number from 0 on, of 128 bits";
        deserialize_f32 => visit_f32, "a number";
        deserialize_f64 => visit_f64, "a number";
        deserialize_char => visit_char, "one character";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_borrowed_bytes(self.0.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_borrowed_bytes(self.0.as_bytes())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, InvalidPath> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InvalidPath> {
        visitor.visit_enum(Variant(self))
    }

    forward_to_deserialize_any! {
        str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, InvalidPath> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A text that names a variant without fields.
struct Variant<'a>(Text<'a>);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = InvalidPath;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), InvalidPath> {
        Ok((seed.deserialize(self.0)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = InvalidPath;

    fn unit_variant(self) -> Result<(), InvalidPath> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, InvalidPath> {
        Err(de::Error::custom("a parameter cannot name a variant with a value"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, InvalidPath> {
        Err(de::Error::custom("a parameter cannot name a variant with values"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, InvalidPath> {
        Err(de::Error::custom("a parameter cannot name a variant with fields"))
    }
}

impl de::Error for InvalidPath {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;

    #[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
    struct Id(u64);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Large,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        order: Id,
        size: Size,
        note: Option<String>,
    }

    fn read<T: DeserializeOwned>(params: &[(&str, &str)]) -> Result<T, String> {
        T::deserialize(Params::new(params.to_vec())).map_err(|error| error.0)
    }

    #[test]
    fn one_parameter_is_taken_as_it_is() {
        assert_eq!(read(&[("id", "7")]), Ok(7_u8));
        assert_eq!(read(&[("id", "7")]), Ok(Id(7)));
        assert_eq!(read(&[("id", "a b")]), Ok("a b".to_owned()));
        assert_eq!(read(&[("size", "large")]), Ok(Size::Large));
        assert_eq!(read::<u8>(&[("id", "256")]), Err("\"256\" is not a whole number from 0 to 255".into()));
        assert_eq!(read::<u8>(&[("a", "1"), ("b", "2")]), Err("1 parameter is wanted and the path has 2".into()));
    }

    #[test]
    fn several_are_a_tuple_a_struct_or_a_map() {
        let params = [("order", "7"), ("size", "small")];
        assert_eq!(read(&params), Ok((7_u64, Size::Small)));
        assert_eq!(read(&params), Ok(Line { order: Id(7), size: Size::Small, note: None }));
        let map = HashMap::from([("order".to_owned(), "7".to_owned()), ("size".to_owned(), "small".to_owned())]);
        assert_eq!(read(&params), Ok(map));
        assert!(read::<(u64,)>(&params).is_err());
        assert!(read::<Line>(&params[..1]).unwrap_err().contains("missing field `size`"));
        assert!(read::<Size>(&[("size", "huge")]).unwrap_err().contains("unknown variant `huge`"));
    }
}
