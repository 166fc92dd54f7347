// Tokens of PTX text. A Scanner walks a text that it does not own; tokens are views into it.
#pragma once

#include <cstdint>
#include <string_view>

namespace pagelab::emu::ptx {

struct Token {
  enum class Kind : std::uint8_t {
    word,    ///< opcode, directive, register or symbol, dots included: "ld.global.v4.f32", "%tid.x", ".reg"
    number,  ///< begins with a digit
    string,  ///< between double quotes, which are not part of `text`
    punctuation,  ///< one character
    end
  };
  Kind kind = Kind::end;
  std::string_view text;
  int line = 0;

  bool is(std::string_view other) const { return kind != Kind::string && text == other; }
};

class Scanner {
 public:
  /// `line` is that of the first character.
  explicit Scanner(std::string_view text, int line = 1) : text_(text), line_(line) {}

  const Token& peek();
  Token next();
  /// Takes the next token if it reads so.
  bool take(std::string_view text);
  /// Takes the next token; throws std::runtime_error with the line if it reads otherwise.
  void expect(std::string_view text);

  /// Passes over a block in braces, the opening one included; the text from brace to brace.
  std::string_view skip_block();
  /// Passes over everything up to the next `;`, that included; the text before it, less blanks at its end.
  std::string_view skip_statement();
  /// What has not been read begins here; to be used with skip_statement() to view a whole statement.
  const char* here() { return peek().text.data(); }

 private:
  void skip_blanks();
  Token scan();

  std::string_view text_;
  std::size_t position_ = 0;
  int line_;
  Token ahead_;
  bool has_ahead_ = false;
};

}  // namespace pagelab::emu::ptx
