// Each slide's letters and pictures shrink together until all of it fits; the window shows 1280 x 720 at any size.
function fit(section) {
  const box = section.querySelector('.fit');
  if (!box) return;
  const hidden = section.style.display === 'none' || getComputedStyle(section).display === 'none';
  if (hidden) return;
  for (let size = 1; size >= 0.5; size -= 0.02) {
    section.style.setProperty('--size', size.toFixed(2));
    if (box.scrollHeight <= 720 - 48 && box.scrollWidth <= 1280 - 80) return;
  }
}
Reveal.on('ready', event => fit(event.currentSlide));
Reveal.on('slidechanged', event => fit(event.currentSlide));
Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, transition: 'none', hash: true, slideNumber: 'c/t',
  keyboardCondition: null, plugins: [RevealNotes],
});
