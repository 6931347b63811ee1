// Offers what the server made as a file: [name, type, text].
watch('value', () => {
  if (!Array.isArray(props.value)) return;
  const [name, type, text] = props.value;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
