#include "kernels/emu/ptx/token.h"

#include <stdexcept>
#include <string>

namespace pagelab::emu::ptx {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' || c == '.';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

void Scanner::skip_blanks() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == '\n') {
      ++line_;
      ++position_;
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\0') {
      ++position_;
    } else if (text_.substr(position_, 2) == "//") {
      position_ = std::min(text_.find('\n', position_), text_.size());
    } else if (text_.substr(position_, 2) == "/*") {
      const std::size_t close = std::min(text_.find("*/", position_), text_.size() - 2) + 2;
      for (; position_ < close; ++position_) {
        line_ += text_[position_] == '\n';
      }
    } else {
      return;
    }
  }
}

Token Scanner::scan() {
  skip_blanks();
  if (position_ >= text_.size()) {
    return {Token::Kind::end, text_.substr(text_.size()), line_};
  }
  const std::size_t begin = position_;
  const char first = text_[begin];
  if (first == '"') {
    const std::size_t close = std::min(text_.find('"', begin + 1), text_.size());
    position_ = std::min(close + 1, text_.size());
    return {Token::Kind::string, text_.substr(begin + 1, close - begin - 1), line_};
  }
  if (!is_letter(first) && !is_digit(first)) {
    ++position_;
    return {Token::Kind::punctuation, text_.substr(begin, 1), line_};
  }
  while (position_ < text_.size()) {
    if (is_letter(text_[position_]) || is_digit(text_[position_])) {
      ++position_;
    } else if (text_.substr(position_, 2) == "::") {
      position_ += 2;
    } else {
      break;
    }
  }
  const auto kind = is_digit(first) ? Token::Kind::number : Token::Kind::word;
  return {kind, text_.substr(begin, position_ - begin), line_};
}

const Token& Scanner::peek() {
  if (!has_ahead_) {
    ahead_ = scan();
    has_ahead_ = true;
  }
  return ahead_;
}

Token Scanner::next() {
  const Token token = peek();
  has_ahead_ = false;
  return token;
}

bool Scanner::take(std::string_view text) {
  if (!peek().is(text)) {
    return false;
  }
  has_ahead_ = false;
  return true;
}

void Scanner::expect(std::string_view text) {
  const Token token = next();
  if (!token.is(text)) {
    throw std::runtime_error("PTX line " + std::to_string(token.line) + ": expected '" + std::string(text) +
                             "' but found '" + std::string(token.text) + "'");
  }
}

std::string_view Scanner::skip_block() {
  const char* begin = here();
  expect("{");
  for (int depth = 1; depth > 0;) {
    const Token token = next();
    if (token.kind == Token::Kind::end) {
      throw std::runtime_error("PTX line " + std::to_string(token.line) + ": a block is not closed");
    }
    depth += token.is("{") ? 1 : token.is("}") ? -1 : 0;
  }
  return {begin, static_cast<std::size_t>(text_.data() + position_ - begin)};
}

std::string_view Scanner::skip_statement() {
  const char* begin = here();
  const char* last = begin;
  for (Token token = next(); !token.is(";"); token = next()) {
    if (token.kind == Token::Kind::end) {
      throw std::runtime_error("PTX line " + std::to_string(token.line) + ": a statement is not closed");
    }
    last = token.text.data() + token.text.size();
  }
  return {begin, static_cast<std::size_t>(last - begin)};
}

}  // namespace pagelab::emu::ptx
