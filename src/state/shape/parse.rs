use super::{Fields, Shape, VALUES};

/// Lists within lists beyond this are not read: what is read comes from a file.
const MAX_DEPTH: usize = 200;

/// Reads a shape as it is written; `None` if it is something else.
pub(super) fn parse(text: &str) -> Option<Shape> {
    let mut parser = Parser { rest: text, depth: 0 };
    let shape = parser.shape()?;
    parser.rest.is_empty().then_some(shape)
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

impl Parser<'_> {
    fn shape(&mut self) -> Option<Shape> {
        self.depth += 1;
        let shape = if self.depth > MAX_DEPTH { None } else { self.any_shape() };
        self.depth -= 1;
        shape
    }

    fn any_shape(&mut self) -> Option<Shape> {
        if self.eat("?") {
            return Some(Shape::Unknown);
        }
        if self.eat("()") {
            return Some(Shape::Value("()".to_string()));
        }
        if self.eat("(") {
            return self.list(")", Parser::shape).map(Shape::Tuple);
        }
        if self.eat("[") {
            let item = Box::new(self.shape()?);
            if self.eat("]") {
                return Some(Shape::List(item));
            }
            self.expect("; ")?;
            let digits = self.take_while(|letter| letter.is_ascii_digit());
            self.expect("]")?;
            return Some(Shape::Array(item, digits.parse().ok()?));
        }
        if self.eat("{") {
            let key = self.shape()?;
            self.expect(" => ")?;
            let value = self.shape()?;
            self.expect("}")?;
            return Some(Shape::Map(Box::new(key), Box::new(value)));
        }
        if self.eat("Option<") {
            let some = self.shape()?;
            self.expect(">")?;
            return Some(Shape::Option(Box::new(some)));
        }
        if self.eat("enum ") {
            let name = self.name()?;
            self.expect(" {")?;
            return Some(Shape::Enum(name, self.list("}", |parser| Some((parser.name()?, parser.fields()?)))?));
        }
        if self.eat("struct ") {
            return Some(Shape::Struct(self.name()?, Fields::None));
        }
        let outer = self.take_while(|letter| letter == '^').len();
        if outer > 0 {
            return Some(Shape::Outer(self.name()?, outer - 1));
        }
        let quoted = self.rest.starts_with('"');
        let name = self.name()?;
        match self.fields()? {
            Fields::None => (!quoted && VALUES.contains(&name.as_str())).then_some(Shape::Value(name)),
            fields => Some(Shape::Struct(name, fields)),
        }
    }

    fn fields(&mut self) -> Option<Fields> {
        if self.eat(" {") {
            let field = |parser: &mut Self| {
                let name = parser.name()?;
                parser.expect(": ")?;
                Some((name, parser.shape()?))
            };
            return self.list("}", field).map(Fields::Named);
        }
        if self.eat("(") {
            return self.list(")", Parser::shape).map(Fields::Unnamed);
        }
        Some(if self.eat("?") { Fields::Unknown } else { Fields::None })
    }

    fn list<T>(&mut self, end: &str, part: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut parts = Vec::new();
        while !self.eat(end) {
            if !parts.is_empty() {
                self.expect(", ")?;
            }
            parts.push(part(self)?);
        }
        Some(parts)
    }

    fn name(&mut self) -> Option<String> {
        if !self.eat("\"") {
            let name = self.take_while(|letter| letter.is_alphanumeric() || letter == '_');
            return (!name.is_empty()).then_some(name);
        }
        let mut name = String::new();
        let mut letters = self.rest.char_indices();
        while let Some((place, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[place + 1..];
                    return Some(name);
                }
                '\\' => name.push(letters.next()?.1),
                letter => name.push(letter),
            }
        }
        None
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|letter| !belongs(letter)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_string()
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.eat(text).then_some(())
    }
}
