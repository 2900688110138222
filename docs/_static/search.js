// The search of the site where words are not parted by spaces. What is asked for is cut into the
// longest words that Sphinx's index has: 勾配消失 is 勾配 and 消失, and of 역전파를 it is 역전파.
// (searchtools.js asks whether there is a splitQuery already.)
const inIndex = (word) =>
  [Search._index.terms, Search._index.titleterms].some((terms) => Object.hasOwn(terms, word));

function longestWords(text) {
  const words = [];
  for (let at = 0, end; at < text.length; at = end) {
    end = text.length;
    while (end > at + 1 && !inIndex(text.slice(at, end).toLowerCase())) end--;
    words.push(text.slice(at, end));
  }
  const known = words.filter((word) => inIndex(word.toLowerCase()));
  return known.length ? known : [text];
}

var splitQuery = (query) =>
  query.split(/[^\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/gu).filter(Boolean)
    .flatMap((part) => /^[\x20-\x7e]*$/.test(part) ? [part] : longestWords(part));
