// What eslint says about the limiters as they stand: typescript-eslint's own strictest set.
import tseslint from 'typescript-eslint';

export default tseslint.config(...tseslint.configs.strict, ...tseslint.configs.stylistic);
